-- Running jobs whose collector left because there was nothing to collect, and that nobody has launched again since.
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted
FROM jobs j
JOIN projects p USING (project_id)
JOIN collectors c USING (job_id, generation)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE j.status = 'RUNNING' AND c.awaits_results AND j.run_id = c.run_id
ORDER BY j.job_id
LIMIT %(limit)s
