-- Workers that were started for a backlog. A row is written before the worker is started, so that a start whose process
-- died half-way is found again by its id.
CREATE TABLE worker_starts (
    start_id text PRIMARY KEY,
    pool text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- What the engine calls it: a Slurm job, a Dagster run.
    handle text NOT NULL DEFAULT '',
    -- When the engine first said that it runs, and when its worker was first heard.
    running_at timestamptz,
    heard_at timestamptz,
    -- Whether it was seen to have finished an image.
    worked boolean NOT NULL DEFAULT false,
    ended_at timestamptz,
    -- Why it did not end well; empty where it did.
    error text NOT NULL DEFAULT ''
);
CREATE INDEX worker_starts_open ON worker_starts (pool) WHERE ended_at IS NULL;
CREATE INDEX worker_starts_requested ON worker_starts (requested_at);

-- What the last round decided for each pool, for people.
CREATE TABLE worker_pools (
    pool text PRIMARY KEY,
    looked_at timestamptz NOT NULL DEFAULT now(),
    needed integer NOT NULL,
    on_their_way integer NOT NULL,
    is_short boolean NOT NULL,
    why text NOT NULL
);

-- Seconds of a worker's time per image, as workers measured them last.
CREATE TABLE pipeline_speeds (
    pool text NOT NULL,
    pipeline text NOT NULL,
    seconds double precision NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pool, pipeline)
);

-- By when the results are wanted; null: it does not matter.
ALTER TABLE jobs ADD COLUMN due_at timestamptz;
