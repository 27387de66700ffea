UPDATE worker_starts SET running_at = now()
WHERE start_id = ANY (%(starts)s) AND ended_at IS NULL AND running_at IS NULL
