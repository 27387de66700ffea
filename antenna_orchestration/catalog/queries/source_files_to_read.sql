-- Some files of each source that are at rest, as far as is known, and files that were left out a while ago.
SELECT s.source_id, f.uri, f.version, f.was_left_out
FROM sources s
CROSS JOIN LATERAL (
    (SELECT uri, version, false AS was_left_out FROM source_files
     WHERE source_id = s.source_id AND state = 'waiting' AND seen_at <= now() - s.settle_seconds * interval '1 s'
     ORDER BY uri LIMIT %(most)s)
    UNION ALL
    (SELECT uri, version, true FROM source_files
     WHERE source_id = s.source_id AND state = 'left_out' AND read_at <= now() - %(again)s * interval '1 s'
     ORDER BY uri LIMIT %(most)s)
) f
-- What cannot be listed cannot be read.
WHERE s.paused_at IS NULL AND s.failures = 0 AND (%(source)s::bigint IS NULL OR s.source_id = %(source)s)
ORDER BY s.source_id, f.uri
