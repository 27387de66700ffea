-- The algorithms that versions of a pipeline with another digest did images with, and in which version, the newest. None if
-- a job of this version was submitted before: who submitted that has been told.
SELECT a.key, a.version, (array_agg(g.pipeline_version ORDER BY d.registered_at DESC))[1] AS of_version
FROM jobs j
JOIN job_generations g USING (job_id)
JOIN pipeline_digests d ON d.slug = j.pipeline AND d.version = g.pipeline_version
JOIN algorithms a ON a.algorithm_id = ANY (g.algorithms)
WHERE j.pipeline = %(slug)s AND d.version <> %(version)s AND d.digest <> %(digest)s
  AND EXISTS (
      SELECT 1 FROM job_images i WHERE i.job_id = g.job_id AND i.generation = g.generation AND i.status = 'done'
  )
  AND NOT EXISTS (
      SELECT 1 FROM jobs k JOIN job_generations h USING (job_id)
      WHERE k.pipeline = %(slug)s AND h.pipeline_version = %(version)s AND h.digest IS NOT NULL
  )
GROUP BY a.key, a.version
