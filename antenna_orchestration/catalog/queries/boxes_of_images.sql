-- The boxes that these images of a job were given.
SELECT image_id, boxes FROM job_images WHERE job_id = %(job)s AND image_id = ANY (%(images)s) AND boxes IS NOT NULL
