-- Watched sources: folders and prefixes of buckets whose new photographs are submitted by themselves.
CREATE TABLE sources (
    source_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    deployment_id bigint NOT NULL REFERENCES deployments,
    -- file:// or s3://, without a slash at its end.
    uri text NOT NULL,
    pattern text NOT NULL DEFAULT '',
    pipeline text NOT NULL,
    config jsonb NOT NULL DEFAULT '{}',
    settle_seconds integer NOT NULL CHECK (settle_seconds >= 0),
    every_seconds integer NOT NULL CHECK (every_seconds > 0),
    created_by text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    paused_at timestamptz,
    -- When it was listed to its end, and when it is listed again.
    looked_at timestamptz,
    next_look_at timestamptz NOT NULL DEFAULT now(),
    -- Failures in a row to list it, and to submit what was found; why the last one failed.
    failures integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    refusals integer NOT NULL DEFAULT 0,
    refusal text NOT NULL DEFAULT '',
    submit_at timestamptz NOT NULL DEFAULT now(),
    -- Of a bucket: names up to the first have not changed for long; where a look that is not over goes on (null: it is
    -- over); how far the names before were looked at again.
    quiet_upto text NOT NULL DEFAULT '',
    listed_upto text,
    swept_upto text NOT NULL DEFAULT ''
);
CREATE INDEX sources_due ON sources (next_look_at) WHERE paused_at IS NULL;

CREATE TABLE source_folders (
    source_id bigint NOT NULL REFERENCES sources ON DELETE CASCADE,
    -- The folder itself, whatever links lead to it: each is listed once.
    real_uri text NOT NULL,
    uri text NOT NULL,
    -- Its time of change, in nanoseconds, when it was listed; null: not listed yet.
    changed_ns bigint,
    -- Listed twice with this time, some seconds apart: nothing came since.
    is_quiet boolean NOT NULL DEFAULT false,
    listed_at timestamptz,
    PRIMARY KEY (source_id, real_uri)
);

-- As for captures, no foreign keys here: the rows are as many as photographs.
CREATE TABLE source_files (
    source_id bigint NOT NULL,
    uri text COLLATE "C" NOT NULL,
    version text NOT NULL,
    size bigint NOT NULL,
    -- Since when it is known with this version.
    seen_at timestamptz NOT NULL DEFAULT now(),
    -- waiting: not at rest, or not read yet; read: waits to be submitted.
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'read', 'submitted', 'duplicate', 'left_out')),
    read_at timestamptz,
    -- Why it is left out.
    why text NOT NULL DEFAULT '',
    -- SHA-256 of its bytes; of an object, that of its version.
    content bytea,
    stamp timestamp,
    stamp_offset smallint,
    PRIMARY KEY (source_id, uri)
);
CREATE INDEX source_files_open ON source_files (source_id, state, uri) WHERE state IN ('waiting', 'read', 'left_out');

-- Which job has these bytes: the key that lets each photograph be in one job.
CREATE TABLE source_photographs (
    source_id bigint NOT NULL,
    content bytea NOT NULL,
    job_id bigint NOT NULL,
    PRIMARY KEY (source_id, content)
);

CREATE TABLE source_jobs (
    job_id bigint PRIMARY KEY,
    source_id bigint NOT NULL,
    -- Null: the time of its photographs is not known.
    night date
);
CREATE INDEX source_jobs_nights ON source_jobs (source_id, night);
