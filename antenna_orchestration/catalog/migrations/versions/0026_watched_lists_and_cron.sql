-- Of a list on the web: what its server said when it was last read to its end, to ask with whether it is still the same.
ALTER TABLE sources
    ADD COLUMN etag text NOT NULL DEFAULT '',
    ADD COLUMN last_modified text NOT NULL DEFAULT '';

-- When to look; empty: every `every_seconds`.
ALTER TABLE sources ADD COLUMN cron text NOT NULL DEFAULT '';
