-- What a version of a pipeline is: the digest that it was submitted with first. Not of pipelines that HTTP workers or
-- processing services run: nothing is known of their code.
CREATE TABLE pipeline_digests (
    slug text NOT NULL,
    version text NOT NULL,
    digest text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (slug, version)
);
CREATE INDEX pipeline_digests_digest ON pipeline_digests (digest);

-- Numbers for digests: the ledger has many millions of rows, which a digest each would make three times as large.
CREATE TABLE digests (
    digest_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest text NOT NULL UNIQUE
);

-- Of the pipeline, and of the files that the job's configuration names; null: not known, which fits any.
ALTER TABLE job_generations ADD COLUMN digest text;

-- 0: not known, which fits any. All rows from before.
ALTER TABLE processed ADD COLUMN digest_id integer NOT NULL DEFAULT 0;
ALTER TABLE processed DROP CONSTRAINT processed_pkey;
ALTER TABLE processed ADD PRIMARY KEY (image_id, algorithm_id, digest_id);
