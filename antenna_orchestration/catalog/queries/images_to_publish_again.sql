-- Pending images by id, to be published again.
SELECT i.ordinal, i.image_id, c.url, c.captured_at, d.name
FROM job_images i
JOIN captures c USING (image_id)
LEFT JOIN deployments d USING (deployment_id)
WHERE i.job_id = %(job)s AND i.image_id = ANY (%(images)s) AND i.generation = %(generation)s AND i.status = 'pending'
ORDER BY i.ordinal
