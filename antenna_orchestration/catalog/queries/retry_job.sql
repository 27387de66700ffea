-- The one edge out of a terminal status: open the next generation, with the failed and missing images only. The run and
-- the launches of the generation before are cleared, so that nothing late from it is taken for this one's.
WITH again AS (
    UPDATE jobs SET status = 'QUEUED', generation = generation + 1, status_reason = NULL, run_id = NULL,
        claimed_at = NULL, started_at = NULL, finished_at = NULL, stalled_launches = 0, accounted_at_launch = 0,
        done = NULL, failed = NULL, detections = NULL, classifications = NULL
    WHERE job_id = %(job)s AND status IN ('SUCCESS', 'FAILURE', 'CANCELED')
    RETURNING job_id, generation, pipeline, dispatch_mode
), images AS (
    UPDATE job_images i SET status = 'pending', generation = again.generation, reason = NULL, attempts = 0, part = NULL,
        by_others = false
    FROM again
    WHERE i.job_id = again.job_id AND i.status <> 'done'
    RETURNING 1
), opened AS (
    INSERT INTO job_generations (job_id, generation, pipeline_version, algorithms, digest)
    SELECT job_id, again.generation, p.version,
           ARRAY (SELECT algorithm_id FROM pipeline_algorithms a WHERE a.slug = p.slug ORDER BY position),
           CASE WHEN again.dispatch_mode = 'async_api' THEN %(digest)s::text END
    FROM again JOIN pipelines p ON p.slug = again.pipeline
    RETURNING pipeline_version
)
SELECT again.generation, again.pipeline, (SELECT pipeline_version FROM opened) AS version,
       (SELECT count(*) FROM images) AS images
FROM again
