-- A folder may get another file within the resolution of its time of change: only the second listing with the same time
-- is the last one.
UPDATE source_folders
SET is_quiet = coalesce(changed_ns = %(changed_ns)s AND listed_at <= now() - %(resolution)s * interval '1 s', false),
    changed_ns = %(changed_ns)s, listed_at = now()
WHERE source_id = %(source)s AND real_uri = %(real_uri)s
