CREATE TABLE projects (
    project_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    name text NOT NULL,
    image_root text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE deployments (
    deployment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, name)
);

-- No foreign keys here, in job_images and in processed: the rows come from joins within the transaction that makes what
-- they refer to, nothing deletes that, and the checks, one a row, would be half of the time of a large submission.
CREATE TABLE captures (
    image_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL,
    deployment_id bigint,
    url text NOT NULL,
    captured_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (project_id, url)
);

CREATE TABLE algorithms (
    algorithm_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL,
    version text NOT NULL,
    name text NOT NULL,
    task text NOT NULL CHECK (task IN ('localization', 'classification')),
    description text NOT NULL DEFAULT '',
    uri text,
    labels jsonb NOT NULL DEFAULT '[]',
    labels_sha256 text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (key, version)
);

CREATE TABLE pipelines (
    slug text PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    description text NOT NULL DEFAULT '',
    default_config jsonb NOT NULL DEFAULT '{}',
    registered_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE pipeline_algorithms (
    slug text NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    position integer NOT NULL,
    algorithm_id bigint NOT NULL REFERENCES algorithms,
    PRIMARY KEY (slug, position)
);

CREATE TABLE jobs (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    name text NOT NULL,
    pipeline text NOT NULL REFERENCES pipelines,
    config jsonb NOT NULL DEFAULT '{}',
    config_hash text NOT NULL,
    status text NOT NULL DEFAULT 'QUEUED'
        CHECK (status IN ('QUEUED', 'CLAIMED', 'RUNNING', 'CANCELING', 'SUCCESS', 'FAILURE', 'CANCELED')),
    status_reason text,
    generation integer NOT NULL DEFAULT 1,
    launch integer NOT NULL DEFAULT 0,
    -- Launches in a row whose run died without having accounted for one more image.
    stalled_launches integer NOT NULL DEFAULT 0,
    accounted_at_launch bigint NOT NULL DEFAULT 0,
    priority integer NOT NULL DEFAULT 1 CHECK (priority BETWEEN 1 AND 100),
    interactive boolean NOT NULL DEFAULT false,
    total bigint NOT NULL,
    skipped bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    source_kinds text[] NOT NULL DEFAULT '{}',
    run_id text,
    -- Final counts, written with the terminal status; while the job runs they are counted or read from Redis.
    done bigint,
    failed bigint,
    detections bigint,
    classifications bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz
);
-- What sensors and health checks look for is a handful of rows among all jobs there ever were.
CREATE INDEX jobs_active ON jobs (status, job_id) WHERE status IN ('QUEUED', 'CLAIMED', 'RUNNING', 'CANCELING');
CREATE INDEX jobs_project ON jobs (project_id, job_id);

CREATE TABLE job_generations (
    job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    generation integer NOT NULL,
    -- Name of the task consumer's present life; changes when the queue lost it.
    epoch text,
    -- Tasks of images up to this ordinal were confirmed by JetStream.
    published_upto bigint NOT NULL DEFAULT 0,
    -- When the rows of everything done up to this generation were in the final tables; parts may be gone since.
    compacted_at timestamptz,
    PRIMARY KEY (job_id, generation)
);

-- One row an image. Only `status` and what hangs on it ever changes and none of it is indexed, so that updates stay
-- within their page (HOT); hence the room left in each.
CREATE TABLE job_images (
    job_id bigint NOT NULL,
    image_id bigint NOT NULL,
    ordinal bigint NOT NULL,
    generation integer NOT NULL DEFAULT 1,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    reason text,
    retryable boolean NOT NULL DEFAULT false,
    part text,
    width integer,
    height integer,
    detections integer NOT NULL DEFAULT 0,
    classifications integer NOT NULL DEFAULT 0,
    worker text,
    finished_at timestamptz,
    PRIMARY KEY (job_id, image_id),
    UNIQUE (job_id, ordinal)
) WITH (fillfactor = 70);

CREATE TABLE collectors (
    job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    generation integer NOT NULL,
    run_id text NOT NULL,
    host text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    -- Set when the collector left in order, its job unfinished: the stack stopped.
    left_at timestamptz,
    PRIMARY KEY (job_id, generation)
);

CREATE TABLE job_log (
    log_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL REFERENCES jobs ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    level text NOT NULL CHECK (level IN ('INFO', 'WARNING', 'ERROR')),
    action text NOT NULL,
    message text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX job_log_job ON job_log (job_id, log_id);

-- What was processed by what, over all jobs: the rule for skipping.
CREATE TABLE processed (
    image_id bigint NOT NULL,
    algorithm_id bigint NOT NULL,
    job_id bigint NOT NULL,
    PRIMARY KEY (image_id, algorithm_id)
);

CREATE TABLE workers (
    worker_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('nats', 'http')),
    host text,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    details jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE tokens (
    token_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 text NOT NULL UNIQUE,
    fingerprint text NOT NULL,
    role text NOT NULL CHECK (role IN ('worker', 'submitter', 'admin')),
    label text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);

CREATE TABLE token_projects (
    token_id bigint NOT NULL REFERENCES tokens ON DELETE CASCADE,
    project_id bigint NOT NULL REFERENCES projects,
    PRIMARY KEY (token_id, project_id)
);
