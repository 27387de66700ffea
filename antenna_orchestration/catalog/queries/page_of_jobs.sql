-- One page of jobs for people, with the number of all that match. Null filters match everything.
-- The rows of jobs are wide, so they are read for the page alone.
-- The page is found along the index of numbers, from whichever end, and stops when it is full; what matches is only
-- counted.
WITH matching AS NOT MATERIALIZED (
    SELECT j.job_id
    FROM jobs j
    WHERE (%(projects)s::bigint[] IS NULL OR j.project_id = ANY (%(projects)s))
      AND (%(project)s::text IS NULL OR j.project_id = ANY (ARRAY(
              SELECT p.project_id FROM projects p WHERE %(project)s IN (p.slug, p.project_id::text))))
      AND (%(statuses)s::text[] IS NULL OR j.status = ANY (%(statuses)s))
      AND (%(pipelines)s::text[] IS NULL OR j.pipeline = ANY (%(pipelines)s))
      AND (%(dispatch_mode)s::text IS NULL OR j.dispatch_mode = %(dispatch_mode)s)
      AND (%(search)s::text IS NULL OR position(lower(%(search)s) IN lower(j.name)) > 0)
      AND (%(deployment)s::text IS NULL OR EXISTS (
              SELECT 1 FROM deployments d
              WHERE d.deployment_id = ANY (j.deployments) AND %(deployment)s IN (d.name, d.deployment_id::text)))
      AND (%(created_by)s::text IS NULL OR j.created_by = %(created_by)s)
      AND NOT (j.status = 'FAILURE' AND j.finished_at < now() - make_interval(hours => %(cutoff_hours)s))
), page AS (
    (SELECT job_id FROM matching WHERE NOT %(oldest_first)s ORDER BY job_id DESC LIMIT %(limit)s OFFSET %(offset)s)
    UNION ALL
    (SELECT job_id FROM matching WHERE %(oldest_first)s ORDER BY job_id LIMIT %(limit)s OFFSET %(offset)s)
)
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted, (SELECT count(*) FROM matching) AS matching
FROM page
JOIN jobs j USING (job_id)
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
ORDER BY CASE WHEN %(oldest_first)s THEN job_id ELSE -job_id END
