-- Of a list on the web: what its server said when it was last read to its end, to ask with whether it is still the same.
ALTER TABLE sources
    ADD COLUMN etag text NOT NULL DEFAULT '',
    ADD COLUMN last_modified text NOT NULL DEFAULT '';
