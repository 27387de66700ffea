-- What was chosen, as it would be submitted again, in order. What a signed URL is loaded with, the newest job knows.
WITH links AS (
    SELECT DISTINCT ON (i.image_id) i.image_id, i.link
    FROM jobs j JOIN job_images i USING (job_id)
    WHERE j.project_id = %(project)s AND i.link IS NOT NULL
      AND EXISTS (SELECT 1 FROM chosen WHERE stage = %(stage)s AND url LIKE 'http%%')
    ORDER BY i.image_id, i.job_id DESC
)
SELECT c.url, c.captured_at, s.deployment, c.version, l.link, c.stamp, c.stamp_offset
FROM chosen s
JOIN captures c USING (image_id)
LEFT JOIN links l USING (image_id)
WHERE s.stage = %(stage)s
ORDER BY s.deployment NULLS LAST, s.local_time NULLS LAST, s.url, s.version
