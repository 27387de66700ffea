-- Commit the outcomes of a batch of images, for the one collector that owns the job. Pending becomes done or failed, and
-- failed becomes done; anything else is a repetition. Returns the images whose status changed, by their status before.
--
-- It is done in separate steps because PostgreSQL has no statistics about a young job: with the job as a constant, or with
-- the states and the key in one step, it expects to find one image, and compares each image of the batch with all images
-- of the job.
--
-- A size that is known from the job whose boxes were given stays where the worker says none.
WITH given AS MATERIALIZED (
    SELECT n.*, %(job)s::bigint AS job
    FROM json_to_recordset(%(outcomes)s::json) AS n (
        image bigint, status text, part text, attempts int, reason text, retryable bool, width int, height int,
        detections int, classifications int, worker text, seconds real, leased_at timestamptz, posted_at timestamptz,
        by_others bool
    )
    WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = %(job)s AND j.generation = %(generation)s
                  AND j.status IN ('QUEUED', 'CLAIMED', 'RUNNING'))
), found AS MATERIALIZED (
    SELECT n.*, i.status AS was, i.generation
    FROM given n JOIN job_images i ON i.job_id = n.job AND i.image_id = n.image
    FOR UPDATE OF i
), moved AS (
    UPDATE job_images i
    SET status = f.status, part = f.part, attempts = f.attempts, reason = f.reason, retryable = f.retryable,
        width = coalesce(f.width, i.width), height = coalesce(f.height, i.height), detections = f.detections, classifications = f.classifications,
        worker = f.worker, seconds = f.seconds, leased_at = f.leased_at, posted_at = f.posted_at,
        by_others = coalesce(f.by_others, false), finished_at = now()
    FROM found f
    WHERE i.job_id = f.job AND i.image_id = f.image
      AND f.generation = %(generation)s AND (f.was = 'pending' OR (f.was = 'failed' AND f.status = 'done'))
    RETURNING i.image_id, f.was
)
SELECT was, array_agg(image_id) AS images FROM moved GROUP BY was
