-- All images of a job in order, for the lake's manifest and captures tables.
SELECT i.image_id, i.ordinal, c.url, d.name AS deployment, c.captured_at, i.status, i.width, i.height, i.detections,
       i.attempts, i.reason, i.part, i.finished_at
FROM job_images i
JOIN captures c USING (image_id)
LEFT JOIN deployments d USING (deployment_id)
WHERE i.job_id = %(job)s
ORDER BY i.ordinal
