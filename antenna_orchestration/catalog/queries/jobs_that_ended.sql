-- Jobs that ended since alerts are made, at most a day ago, and of which there is no alert yet.
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted
FROM jobs j
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE j.status IN ('SUCCESS', 'FAILURE') AND j.status = ANY (%(statuses)s)
  AND j.finished_at >= greatest(%(since)s, now() - interval '1 day')
  AND NOT EXISTS (
      SELECT FROM alerts a
      WHERE a.key = CASE j.status WHEN 'FAILURE' THEN 'job_failure:' ELSE 'job_success:' END
                    || j.job_id || ':' || j.generation
  )
ORDER BY j.finished_at
LIMIT %(limit)s
