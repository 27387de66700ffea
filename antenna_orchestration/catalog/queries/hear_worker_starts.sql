UPDATE worker_starts SET heard_at = now()
WHERE start_id = ANY (%(starts)s) AND ended_at IS NULL AND heard_at IS NULL
