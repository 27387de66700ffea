-- Dagster's runs that are under way and use the catalog. The sensor lost_runs deletes the rows of those that are over.
CREATE TABLE run_heartbeats (
    run_id text PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now()
);
-- A heartbeat of a run is one of its job's collector, too.
CREATE INDEX collectors_run ON collectors (run_id);
