-- A part that cannot be read any more: its images are to be done again. Never after the job is over: then the final
-- tables hold the rows, and parts are gone on purpose.
UPDATE job_images i
SET status = 'pending', part = NULL, detections = 0, classifications = 0, generation = %(generation)s
FROM jobs j
WHERE i.job_id = %(job)s AND i.part = %(part)s AND j.job_id = i.job_id
  AND j.generation = %(generation)s AND j.status IN ('CLAIMED', 'RUNNING')
RETURNING i.image_id
