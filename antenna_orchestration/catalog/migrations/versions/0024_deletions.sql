-- Jobs that people deleted: who and when, for ever, and what other stores may still hold of them until it is cleared.
CREATE TABLE deletions (
    job_id bigint PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES projects,
    name text NOT NULL,
    pipeline text NOT NULL,
    generation integer NOT NULL,
    total bigint NOT NULL,
    deleted_by text NOT NULL DEFAULT '',
    deleted_at timestamptz NOT NULL DEFAULT now(),
    -- When queue, Redis and lake held nothing of it any more, and when the tables of its project were without it.
    cleared_at timestamptz,
    -- When Dagster held nothing of it any more.
    dagster_cleared_at timestamptz
);
CREATE INDEX deletions_recent ON deletions (deleted_at);
