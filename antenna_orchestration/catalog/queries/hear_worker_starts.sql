UPDATE worker_starts SET heard_at = coalesce(heard_at, now()), worked = worked OR start_id = ANY (%(worked)s)
WHERE start_id = ANY (%(starts)s) AND ended_at IS NULL
  AND (heard_at IS NULL OR (NOT worked AND start_id = ANY (%(worked)s)))
