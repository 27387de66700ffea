-- The pending images of a generation up to an ordinal.
SELECT image_id FROM job_images
WHERE job_id = %(job)s AND generation = %(generation)s AND status = 'pending' AND ordinal <= %(upto)s
