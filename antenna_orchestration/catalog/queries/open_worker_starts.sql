-- Starts that are not known to have ended, the oldest first.
SELECT start_id, pool, handle, extract(epoch FROM now() - requested_at)::float8 AS age,
       coalesce(extract(epoch FROM now() - running_at), 0)::float8 AS running_for, heard_at IS NOT NULL AS was_heard
FROM worker_starts WHERE ended_at IS NULL ORDER BY requested_at, start_id
