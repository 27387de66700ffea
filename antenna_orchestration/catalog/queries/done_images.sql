-- The done images of a job, in order, with what is known of them now: they are to be submitted again, and later lists
-- may have corrected what the job was submitted with.
SELECT i.image_id, c.url, c.captured_at, c.stamp, c.stamp_offset, d.name AS deployment, c.version, i.link
FROM job_images i
JOIN captures c USING (image_id)
LEFT JOIN deployments d ON d.deployment_id = c.deployment_id
WHERE i.job_id = %(job)s AND i.status = 'done'
ORDER BY i.ordinal
