UPDATE worker_starts SET error = reason
FROM unnest(%(starts)s::text[], %(reasons)s::text[]) AS told (start_id, reason)
WHERE worker_starts.start_id = told.start_id AND ended_at IS NULL AND NOT worked AND error <> reason
