-- The images of a job after an ordinal, in order, for the lake's tables with one row per image.
SELECT i.image_id, i.ordinal, c.url, d.name AS deployment, c.captured_at, i.status, i.width, i.height, i.detections,
       i.seconds, i.attempts, i.reason, i.part, i.finished_at, i.finished_at AS failed_at
FROM job_images i
JOIN captures c USING (image_id)
LEFT JOIN deployments d USING (deployment_id)
WHERE i.job_id = %(job)s AND i.ordinal > %(after)s AND (%(only)s::text IS NULL OR i.status = %(only)s)
ORDER BY i.ordinal
LIMIT %(limit)s
