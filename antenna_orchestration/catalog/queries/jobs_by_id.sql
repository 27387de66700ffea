SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted
FROM jobs j
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE j.job_id = ANY (%(jobs)s::bigint[])
