-- Pending images by id, to be published again.
SELECT i.ordinal, i.image_id, coalesce(i.link, c.url) AS uri,
       CASE WHEN j.is_frozen THEN i.captured_at ELSE c.captured_at END AS captured_at, d.name, c.version, i.boxes
FROM job_images i
JOIN jobs j USING (job_id)
JOIN captures c USING (image_id)
LEFT JOIN deployments d
    ON d.deployment_id = CASE WHEN j.is_frozen THEN i.deployment_id ELSE c.deployment_id END
WHERE i.job_id = %(job)s AND i.image_id = ANY (%(images)s) AND i.generation = %(generation)s AND i.status = 'pending'
ORDER BY i.ordinal
