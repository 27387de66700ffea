-- A folder may get another file within the resolution of its time of change: only the second listing with the same time
-- is the last one.
UPDATE source_folders f
SET is_quiet = coalesce(
        f.changed_ns = l.changed_ns AND f.listed_at <= now() - %(resolution)s * interval '1 s', false),
    changed_ns = l.changed_ns, listed_at = now()
FROM unnest(%(real_uris)s::text[], %(changed_ns)s::bigint[]) AS l (real_uri, changed_ns)
WHERE f.source_id = %(source)s AND f.real_uri = l.real_uri
