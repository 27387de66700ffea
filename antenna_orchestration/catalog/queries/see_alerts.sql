-- What is seen and not open is open from now on; what is open is as it is seen now.
INSERT INTO alerts (key, event, project, subject, text, path)
SELECT * FROM unnest(
    %(keys)s::text[], %(events)s::text[], %(projects)s::text[], %(subjects)s::text[], %(texts)s::text[], %(paths)s::text[]
)
ON CONFLICT (key) WHERE ended_at IS NULL DO UPDATE
SET seen_at = now(), subject = excluded.subject, text = excluded.text, path = excluded.path
