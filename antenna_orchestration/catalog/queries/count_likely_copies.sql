-- Local files that are new since this job, at a path where a file of the same size was known by another time.
SELECT count(*) AS images
FROM jobs j
JOIN job_images i USING (job_id)
JOIN captures c USING (image_id)
-- With a limit, so that each is looked up by the index, however many captures there are.
CROSS JOIN LATERAL (
    SELECT 1 FROM captures k
    WHERE k.project_id = c.project_id AND k.url = c.url AND k.version <> c.version
      AND split_part(k.version, '-', 1) = split_part(c.version, '-', 1)
    LIMIT 1
) known
WHERE j.job_id = %(job)s AND c.created_at = j.created_at AND c.url LIKE 'file:%%'
