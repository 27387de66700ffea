-- The versions of its pipeline in which a job's images came to their present state, and the one of its present
-- generation; null where it was not recorded. A job that was never retried has one, without a look at its images.
SELECT coalesce(g.pipeline_version, j.pipeline_version) AS version
FROM job_generations g JOIN jobs j USING (job_id)
WHERE g.job_id = %(job)s AND (g.generation = j.generation OR EXISTS (
    SELECT 1 FROM job_images i WHERE i.job_id = g.job_id AND i.generation = g.generation AND i.status <> 'pending'
))
ORDER BY g.generation
