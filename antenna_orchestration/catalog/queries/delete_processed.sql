-- What is left in the ledger of a job's images by this job alone; how many images that are.
WITH gone AS (
    DELETE FROM processed r USING job_images i
    WHERE i.job_id = %(job)s AND r.image_id = i.image_id AND r.job_id = %(job)s
    RETURNING r.image_id
)
SELECT count(DISTINCT image_id) AS images FROM gone
