-- What came of images, a batch at a time, by the one collector that owns the job. Pending becomes done or failed, failed
-- becomes done; anything else is a repetition and returns no row. Tells what each moved image was before.
WITH n AS (
    SELECT * FROM unnest(
        %(images)s::bigint[], %(statuses)s::text[], %(parts)s::text[], %(attempts)s::int[], %(reasons)s::text[],
        %(retryable)s::bool[], %(widths)s::int[], %(heights)s::int[], %(detections)s::int[],
        %(classifications)s::int[], %(workers)s::text[]
    ) AS n (image_id, status, part, attempts, reason, retryable, width, height, detections, classifications, worker)
), before AS (
    SELECT i.image_id, i.status
    FROM job_images i JOIN n USING (image_id)
    WHERE i.job_id = %(job)s AND i.generation = %(generation)s
      AND (i.status = 'pending' OR (i.status = 'failed' AND n.status = 'done'))
      AND EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = %(job)s AND j.generation = %(generation)s
                  AND j.status IN ('QUEUED', 'CLAIMED', 'RUNNING'))
    FOR UPDATE OF i
)
UPDATE job_images i
SET status = n.status, part = n.part, attempts = n.attempts, reason = n.reason, retryable = n.retryable,
    width = n.width, height = n.height, detections = n.detections, classifications = n.classifications,
    worker = n.worker, finished_at = now()
FROM n JOIN before USING (image_id)
WHERE i.job_id = %(job)s AND i.image_id = n.image_id
RETURNING i.image_id, before.status AS was
