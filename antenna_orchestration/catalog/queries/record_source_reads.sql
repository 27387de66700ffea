-- What reading files said, or looking at them again before they become a job. Bytes that a job has already make a
-- duplicate. A file that is not as it was listed begins to wait anew.
UPDATE source_files f
SET version = r.version, size = r.size, content = r.content, stamp = r.stamp, stamp_offset = r.stamp_offset, why = r.why,
    read_at = now(),
    seen_at = CASE WHEN r.version <> f.version THEN now() ELSE f.seen_at END,
    state = CASE WHEN r.version <> f.version THEN 'waiting'
                 WHEN r.why <> '' THEN 'left_out'
                 WHEN EXISTS (SELECT 1 FROM source_photographs p
                              WHERE p.source_id = %(source)s AND p.content = r.content) THEN 'duplicate'
                 ELSE 'read' END
FROM unnest(%(uris)s::text[], %(listed)s::text[], %(versions)s::text[], %(sizes)s::bigint[], %(contents)s::bytea[],
            %(stamps)s::timestamp[], %(offsets)s::smallint[], %(whys)s::text[])
    AS r (uri, listed, version, size, content, stamp, stamp_offset, why)
WHERE f.source_id = %(source)s AND f.uri = r.uri AND f.version = r.listed AND f.state IN ('waiting', 'read', 'left_out')
