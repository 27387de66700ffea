-- What came of images, a batch at a time, by the one collector that owns the job. Pending becomes done or failed, failed
-- becomes done; anything else is a repetition. Tells which images were moved, by what they were before.
WITH n AS (
    SELECT * FROM json_to_recordset(%(settled)s::json) AS n (
        image bigint, status text, part text, attempts int, reason text, retryable bool, width int, height int,
        detections int, classifications int, worker text
    )
), before AS (
    SELECT i.image_id, i.status
    FROM job_images i JOIN n ON n.image = i.image_id
    WHERE i.job_id = %(job)s AND i.generation = %(generation)s
      AND (i.status = 'pending' OR (i.status = 'failed' AND n.status = 'done'))
      AND EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = %(job)s AND j.generation = %(generation)s
                  AND j.status IN ('QUEUED', 'CLAIMED', 'RUNNING'))
    FOR UPDATE OF i
), moved AS (
    UPDATE job_images i
    SET status = n.status, part = n.part, attempts = n.attempts, reason = n.reason, retryable = n.retryable,
        width = n.width, height = n.height, detections = n.detections, classifications = n.classifications,
        worker = n.worker, finished_at = now()
    FROM n JOIN before ON before.image_id = n.image
    WHERE i.job_id = %(job)s AND i.image_id = n.image
    RETURNING i.image_id, before.status AS was
)
SELECT was, array_agg(image_id) AS images FROM moved GROUP BY was
