INSERT INTO source_folders (source_id, uri, real_uri)
SELECT s.source_id, found.uri, found.real_uri
FROM unnest(%(uris)s::text[], %(real_uris)s::text[]) AS found (uri, real_uri)
JOIN sources s ON s.source_id = %(source)s
ORDER BY found.real_uri
ON CONFLICT DO NOTHING
