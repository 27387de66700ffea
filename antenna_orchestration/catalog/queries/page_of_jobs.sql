-- One page of jobs for people, with the number of all that match. Null filters match everything.
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted, count(*) OVER () AS matching
FROM jobs j
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE (%(projects)s::bigint[] IS NULL OR j.project_id = ANY (%(projects)s))
  AND (%(project)s::text IS NULL OR p.slug = %(project)s OR p.project_id::text = %(project)s)
  AND (%(statuses)s::text[] IS NULL OR j.status = ANY (%(statuses)s))
  AND (%(pipelines)s::text[] IS NULL OR j.pipeline = ANY (%(pipelines)s))
  AND (%(dispatch_mode)s::text IS NULL OR j.dispatch_mode = %(dispatch_mode)s)
  AND (%(search)s::text IS NULL OR position(lower(%(search)s) IN lower(j.name)) > 0)
  AND (%(deployment)s::text IS NULL OR EXISTS (
          SELECT 1 FROM deployments d
          WHERE d.deployment_id = ANY (j.deployments) AND %(deployment)s IN (d.name, d.deployment_id::text)))
  AND (%(created_by)s::text IS NULL OR j.created_by = %(created_by)s)
  AND NOT (j.status = 'FAILURE' AND j.finished_at < now() - make_interval(hours => %(cutoff_hours)s))
ORDER BY CASE WHEN %(oldest_first)s THEN j.job_id ELSE -j.job_id END
LIMIT %(limit)s OFFSET %(offset)s
