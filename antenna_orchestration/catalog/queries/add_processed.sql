-- Add the done images of a job to the ledger.
INSERT INTO processed (image_id, algorithm_id, job_id)
SELECT i.image_id, a.algorithm_id, i.job_id
FROM job_images i
JOIN jobs j USING (job_id)
JOIN pipeline_algorithms a ON a.slug = j.pipeline
WHERE i.job_id = %(job)s AND i.status = 'done'
ON CONFLICT DO NOTHING
