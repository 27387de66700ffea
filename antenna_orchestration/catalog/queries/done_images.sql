-- The done images of a job, as they were submitted, in order.
SELECT i.image_id, c.url, CASE WHEN j.is_frozen THEN i.captured_at ELSE c.captured_at END AS captured_at,
       CASE WHEN j.is_frozen THEN i.stamp ELSE c.stamp END AS stamp,
       CASE WHEN j.is_frozen THEN i.stamp_offset ELSE c.stamp_offset END AS stamp_offset,
       d.name AS deployment, c.version, i.link
FROM job_images i
JOIN jobs j USING (job_id)
JOIN captures c USING (image_id)
LEFT JOIN deployments d
    ON d.deployment_id = CASE WHEN j.is_frozen THEN i.deployment_id ELSE c.deployment_id END
WHERE i.job_id = %(job)s AND i.status = 'done'
ORDER BY i.ordinal
