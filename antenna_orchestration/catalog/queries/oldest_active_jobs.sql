-- Of the jobs that are not over, the oldest of each kind that other workers may serve, and how many there are of it.
WITH kinds AS (
    SELECT min(job_id) AS job_id, count(*) AS jobs, sum(total) AS images
    FROM jobs
    WHERE status IN ('QUEUED', 'CLAIMED', 'RUNNING') AND total > 0
    GROUP BY project_id, pipeline, dispatch_mode, source_kinds
    ORDER BY min(job_id)
    LIMIT %(limit)s
)
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted, k.jobs AS jobs_of_kind, k.images AS images_of_kind
FROM kinds k
JOIN jobs j USING (job_id)
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
ORDER BY j.job_id
