-- Newest first; null filters match everything.
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted
FROM jobs j
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE (%(statuses)s::text[] IS NULL OR j.status = ANY (%(statuses)s))
  AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY j.job_id DESC
LIMIT %(limit)s
