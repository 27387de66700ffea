ALTER TABLE tokens ADD CONSTRAINT tokens_fingerprint UNIQUE (fingerprint);

-- The identity of a worker behind the gateway: its token.
ALTER TABLE workers ADD COLUMN token_id bigint REFERENCES tokens;

-- Where a worker registered a pipeline. What is in the code's registry needs no row.
CREATE TABLE project_pipelines (
    project_id bigint NOT NULL REFERENCES projects,
    slug text NOT NULL REFERENCES pipelines,
    worker_id bigint NOT NULL REFERENCES workers,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, slug)
);
