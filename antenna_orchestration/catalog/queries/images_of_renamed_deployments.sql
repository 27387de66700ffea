-- Of each of these jobs and its deployments that had another name once, an image or two with the name that holds now: what
-- the job's tables say of them is the name of when these were written. Two, because a renaming may fall into the writing.
WITH renamed AS (SELECT deployment_id, name FROM deployments WHERE project_id = %(project)s AND former_names <> '[]'),
of_jobs AS (
    SELECT job_id, is_frozen FROM jobs
    WHERE job_id = ANY (%(jobs)s::bigint[]) AND deployments && ARRAY (SELECT deployment_id FROM renamed)
)
SELECT i.job_id, unnest(ARRAY[min(i.image_id), max(i.image_id)]) AS image_id, r.name
FROM of_jobs j
JOIN job_images i USING (job_id)
JOIN captures c USING (image_id)
JOIN renamed r ON r.deployment_id = CASE WHEN j.is_frozen THEN i.deployment_id ELSE c.deployment_id END
GROUP BY i.job_id, r.deployment_id, r.name
