SELECT s.source_id, p.slug AS project, d.name AS deployment, s.uri, s.pattern, s.failures, s.quiet_upto, s.listed_upto,
       s.swept_upto, s.cron, d.time_zone, s.etag, s.last_modified
FROM sources s
JOIN projects p USING (project_id)
JOIN deployments d USING (deployment_id)
WHERE s.paused_at IS NULL AND s.next_look_at <= now()
ORDER BY s.next_look_at, s.source_id
LIMIT %(limit)s
