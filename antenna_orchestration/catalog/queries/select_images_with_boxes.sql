-- The images of a new job that is given boxes, in the order submitted, except those that a job with the same boxes and the
-- same version and digest of the pipeline has done. The ledger says nothing of them: it knows algorithms, not boxes.
CREATE TEMPORARY TABLE selected ON COMMIT DROP AS
SELECT c.image_id, row_number() OVER (ORDER BY s.ordinal) AS ordinal, s.link,
       c.captured_at, c.stamp, c.stamp_offset, c.deployment_id, s.boxes
FROM submitted s
JOIN captures c ON c.project_id = %(project)s AND c.url = s.url AND c.version = s.version
WHERE %(reprocess)s OR NOT EXISTS (
    SELECT 1 FROM jobs j JOIN job_images i USING (job_id) LEFT JOIN job_generations g ON g.job_id = i.job_id AND g.generation = i.generation
    WHERE j.detections_of = %(detections_of)s AND j.pipeline = %(pipeline)s
      AND coalesce(g.pipeline_version, j.pipeline_version) IS NOT DISTINCT FROM %(version)s
      AND i.image_id = c.image_id AND i.status = 'done'
      AND (%(digest)s::text IS NULL OR g.digest IS NULL OR g.digest = %(digest)s)
)
