-- What is seen and not open is open from now on; what is open is as it is seen now. What was not told, and not seen for
-- minutes, since nobody looked, has not lasted meanwhile: it begins now.
INSERT INTO alerts AS a (key, event, project, subject, text, path)
SELECT * FROM unnest(
    %(keys)s::text[], %(events)s::text[], %(projects)s::text[], %(subjects)s::text[], %(texts)s::text[], %(paths)s::text[]
)
ON CONFLICT (key) WHERE ended_at IS NULL DO UPDATE
SET seen_at = now(), subject = excluded.subject, text = excluded.text, path = excluded.path,
    began_at = CASE WHEN a.told_at IS NULL AND a.seen_at < now() - interval '5 min' THEN now() ELSE a.began_at END
