-- Make the images of an unreadable part pending, so that they are processed again. Never after the job is over: by then
-- the final tables hold the rows, and parts were deleted on purpose.
UPDATE job_images i
SET status = 'pending', part = NULL, detections = 0, classifications = 0, generation = %(generation)s
FROM jobs j
WHERE i.job_id = %(job)s AND i.part = %(part)s AND j.job_id = i.job_id
  AND j.generation = %(generation)s AND j.status IN ('CLAIMED', 'RUNNING')
RETURNING i.image_id
