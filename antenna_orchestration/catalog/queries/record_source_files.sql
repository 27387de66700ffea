-- What a listing found. A file that is not as it was before is another photograph, and begins to wait anew.
INSERT INTO source_files AS f (source_id, uri, version, size)
SELECT s.source_id, found.uri, found.version, found.size
FROM unnest(%(uris)s::text[], %(versions)s::text[], %(sizes)s::bigint[]) AS found (uri, version, size)
JOIN sources s ON s.source_id = %(source)s
-- In this order two writers wait for each other and cannot deadlock.
ORDER BY found.uri
FOR KEY SHARE OF s
ON CONFLICT (source_id, uri) DO UPDATE
SET version = excluded.version, size = excluded.size, seen_at = now(), state = 'waiting', read_at = NULL, why = '',
    content = NULL, stamp = NULL, stamp_offset = NULL
WHERE f.version <> excluded.version
