-- Nothing here rewrites a table or reads one: constant defaults are kept in PostgreSQL's own tables.
-- Which bytes a URL stood for when it was submitted; empty where nobody knows, as for all from before.
ALTER TABLE captures ADD COLUMN version text NOT NULL DEFAULT '';

-- What the job was submitted with, for its tables, whatever later lists say of the captures. `link` is the URL to load
-- where it is not the capture's own: with the signature of this submission. `by_others` tells that the result names
-- other algorithms than the job's.
ALTER TABLE job_images ADD COLUMN captured_at timestamptz, ADD COLUMN deployment_id bigint, ADD COLUMN link text,
    ADD COLUMN by_others boolean NOT NULL DEFAULT false;

-- Whether the job's images have that. Those of before show their captures' time and deployment.
ALTER TABLE jobs ADD COLUMN is_frozen boolean NOT NULL DEFAULT false;

-- The pipeline's version and algorithms when the generation was opened; null for those of before that are over.
ALTER TABLE job_generations ADD COLUMN pipeline_version text, ADD COLUMN algorithms bigint[];
UPDATE job_generations g
SET pipeline_version = p.version,
    algorithms = ARRAY (SELECT algorithm_id FROM pipeline_algorithms a WHERE a.slug = j.pipeline ORDER BY position)
FROM jobs j JOIN pipelines p ON p.slug = j.pipeline
WHERE g.job_id = j.job_id AND j.status IN ('QUEUED', 'CLAIMED', 'RUNNING', 'CANCELING');
