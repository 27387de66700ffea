-- A job of which every image was processed before is over in the transaction that makes it. It has no rows to be written.
WITH ended AS (
    UPDATE jobs SET status = 'SUCCESS', status_reason = %(reason)s, finished_at = now(), done = 0, failed = 0,
        detections = 0, classifications = 0
    WHERE job_id = %(job)s
    RETURNING job_id, generation
)
UPDATE job_generations g SET compacted_at = now()
FROM ended WHERE g.job_id = ended.job_id AND g.generation = ended.generation
