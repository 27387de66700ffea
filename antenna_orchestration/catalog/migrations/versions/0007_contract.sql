-- Seconds of work on an image, as its worker reported them.
ALTER TABLE job_images ADD COLUMN seconds real;

-- Who submitted a job: a token's label, or a user of the host. Null for jobs from before.
ALTER TABLE jobs ADD COLUMN created_by text;

-- The deployments of a job's images as they were when it was submitted, so that lists need not look at its images.
ALTER TABLE jobs ADD COLUMN deployments bigint[] NOT NULL DEFAULT '{}';
UPDATE jobs j SET deployments = d.deployments
FROM (
    SELECT i.job_id, array_agg(DISTINCT c.deployment_id) AS deployments
    FROM job_images i JOIN captures c USING (image_id)
    WHERE c.deployment_id IS NOT NULL
    GROUP BY i.job_id
) d
WHERE d.job_id = j.job_id;

-- Workers name more tasks than these two.
ALTER TABLE algorithms DROP CONSTRAINT algorithms_task_check;

-- Whether every project may run a pipeline, or only those that it was registered for. Those of an installation are for
-- all; what workers registered was used by the projects that registered it.
ALTER TABLE pipelines ADD COLUMN is_public boolean NOT NULL DEFAULT true;
UPDATE pipelines p SET is_public = false WHERE EXISTS (SELECT 1 FROM project_pipelines r WHERE r.slug = p.slug);
