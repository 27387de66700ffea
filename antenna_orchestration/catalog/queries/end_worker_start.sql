-- One that was of no use keeps the reason for that.
UPDATE worker_starts SET ended_at = now(), error = coalesce(nullif(%(error)s, ''), error)
WHERE start_id = %(start)s AND ended_at IS NULL
