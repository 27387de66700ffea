UPDATE sources SET paused_at = coalesce(paused_at, now()) WHERE source_id = %(source)s RETURNING source_id
