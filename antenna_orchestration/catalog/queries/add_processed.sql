-- Add the done images of a job to the ledger, with the algorithms and the digest that their generation was opened with.
-- Images whose results name others are left out: they are processed again when they are submitted again. So are those of
-- jobs that were given boxes: their pipelines' detectors saw no image.
INSERT INTO processed (image_id, algorithm_id, job_id, digest_id)
SELECT i.image_id, a.algorithm_id, i.job_id, coalesce(d.digest_id, 0)
FROM job_images i
JOIN job_generations g USING (job_id, generation)
LEFT JOIN digests d USING (digest)
CROSS JOIN unnest(g.algorithms) AS a (algorithm_id)
WHERE i.job_id = %(job)s AND i.status = 'done' AND NOT i.by_others AND i.boxes IS NULL
ON CONFLICT DO NOTHING
