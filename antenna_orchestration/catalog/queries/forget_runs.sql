-- Runs that are over.
DELETE FROM run_heartbeats WHERE run_id = ANY (%(runs)s::text[])
