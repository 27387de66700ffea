-- What came of images, a batch at a time, by the one collector that owns the job. Pending becomes done or failed, failed
-- becomes done; anything else is a repetition. Tells which images were moved, by what they were before.
--
-- The job stands beside each image of the batch, in a step of its own, so that PostgreSQL looks images up by their whole
-- key: of a job that is younger than its statistics it believes that it has one image, and given the job as a constant
-- it read all of the job's images for each of the batch.
WITH given AS MATERIALIZED (
    SELECT n.*, %(job)s::bigint AS job
    FROM json_to_recordset(%(settled)s::json) AS n (
        image bigint, status text, part text, attempts int, reason text, retryable bool, width int, height int,
        detections int, classifications int, worker text
    )
), moving AS (
    SELECT n.*, i.status AS was
    FROM given n
    JOIN job_images i ON i.job_id = n.job AND i.image_id = n.image
    WHERE i.generation = %(generation)s AND (i.status = 'pending' OR (i.status = 'failed' AND n.status = 'done'))
      AND EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = %(job)s AND j.generation = %(generation)s
                  AND j.status IN ('QUEUED', 'CLAIMED', 'RUNNING'))
    FOR UPDATE OF i
), moved AS (
    UPDATE job_images i
    SET status = m.status, part = m.part, attempts = m.attempts, reason = m.reason, retryable = m.retryable,
        width = m.width, height = m.height, detections = m.detections, classifications = m.classifications,
        worker = m.worker, finished_at = now()
    FROM moving m
    WHERE i.job_id = m.job AND i.image_id = m.image
    RETURNING i.image_id, m.was
)
SELECT was, array_agg(image_id) AS images FROM moved GROUP BY was
