SELECT source_id, uri, real_uri, changed_ns, is_quiet, extract(epoch FROM now() - listed_at)::float8 AS listed_ago
FROM source_folders WHERE source_id = ANY (%(sources)s::bigint[])
ORDER BY source_id, uri
