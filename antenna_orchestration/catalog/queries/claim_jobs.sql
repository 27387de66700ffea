-- QUEUED jobs become CLAIMED, interactive and important ones first. SKIP LOCKED: two sensors never claim one twice.
WITH claimed AS (
    UPDATE jobs SET status = 'CLAIMED', launch = launch + 1, claimed_at = now()
    WHERE job_id IN (
        SELECT job_id FROM jobs
        WHERE status = 'QUEUED' AND (%(job)s::bigint IS NULL OR job_id = %(job)s)
        ORDER BY interactive DESC, priority DESC, job_id
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    RETURNING *
)
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted
FROM claimed j
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
ORDER BY j.interactive DESC, j.priority DESC, j.job_id
