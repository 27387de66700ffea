-- For how long each run under way has been silent.
SELECT run_id, extract(epoch FROM now() - heartbeat_at)::float8 AS silent_for FROM run_heartbeats
