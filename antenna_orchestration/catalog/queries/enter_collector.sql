-- A run begins or continues to collect the job. Its heartbeats keep the row fresh from now on.
INSERT INTO collectors (job_id, generation, run_id, host) VALUES (%(job)s, %(generation)s, %(run_id)s, %(host)s)
ON CONFLICT (job_id, generation) DO UPDATE
SET heartbeat_at = now(), left_at = NULL, awaits_results = false, host = excluded.host,
    started_at = CASE WHEN collectors.run_id = excluded.run_id THEN collectors.started_at ELSE now() END,
    run_id = excluded.run_id
