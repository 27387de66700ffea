-- A run is alive, and so is the collector of the job that it works for.
WITH beat AS (
    INSERT INTO run_heartbeats (run_id) VALUES (%(run_id)s)
    ON CONFLICT (run_id) DO UPDATE SET heartbeat_at = now()
)
UPDATE collectors SET heartbeat_at = now() WHERE run_id = %(run_id)s AND left_at IS NULL
