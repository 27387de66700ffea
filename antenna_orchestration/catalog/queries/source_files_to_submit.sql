SELECT uri, version, content, stamp, stamp_offset, extract(epoch FROM now() - seen_at)::float8 AS waited
FROM source_files
WHERE source_id = %(source)s AND state = 'read'
ORDER BY uri LIMIT %(limit)s
