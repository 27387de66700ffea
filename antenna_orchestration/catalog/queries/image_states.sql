-- The states of images of a job's present generation.
SELECT i.image_id, i.status FROM job_images i
JOIN jobs j USING (job_id, generation)
WHERE i.job_id = %(job)s AND i.generation = %(generation)s AND i.image_id = ANY (%(images)s)
