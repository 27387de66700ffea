-- The images of a job after an ordinal, in order, for the lake's tables with one row per image.
SELECT i.image_id, i.ordinal, c.url, d.name AS deployment,
       CASE WHEN j.is_frozen THEN i.captured_at ELSE c.captured_at END AS captured_at,
       CASE WHEN j.is_frozen THEN i.stamp ELSE c.stamp END AS stamp,
       CASE WHEN j.is_frozen THEN i.stamp_offset ELSE c.stamp_offset END AS stamp_offset, i.status, i.width,
       i.height, i.detections, i.seconds, i.attempts, i.reason, i.part, i.finished_at, i.finished_at AS failed_at,
       coalesce(g.pipeline_version, j.pipeline_version) AS pipeline_version
FROM job_images i
JOIN jobs j USING (job_id)
JOIN captures c USING (image_id)
LEFT JOIN job_generations g ON g.job_id = i.job_id AND g.generation = i.generation
LEFT JOIN deployments d
    ON d.deployment_id = CASE WHEN j.is_frozen THEN i.deployment_id ELSE c.deployment_id END
WHERE i.job_id = %(job)s AND i.ordinal > %(after)s AND (%(only)s::text IS NULL OR i.status = %(only)s)
ORDER BY i.ordinal
LIMIT %(limit)s
