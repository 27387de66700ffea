SELECT s.source_id, p.slug AS project, d.name AS deployment, s.uri, s.pattern, s.pipeline, s.config, s.settle_seconds,
       s.every_seconds, s.cron, d.time_zone, s.created_by, s.created_at, s.paused_at, s.looked_at, s.next_look_at,
       s.failures, s.error, s.refusals, s.refusal, s.submit_at,
       (s.looked_at IS NULL OR s.listed_upto IS NOT NULL OR EXISTS (
           SELECT 1 FROM source_folders o WHERE o.source_id = s.source_id AND o.changed_ns IS NULL)) AS is_being_listed,
       c.found, w.moving, w.unread, c.read, c.submitted, c.duplicates, c.left_out,
       (SELECT max(o.why) FROM source_files o WHERE o.source_id = s.source_id AND o.state = 'left_out') AS left_out_why,
       w.newest_at, j.jobs, j.last_job
FROM sources s
JOIN projects p USING (project_id)
JOIN deployments d USING (deployment_id)
-- The old files are counted already.
CROSS JOIN LATERAL (
    SELECT coalesce(sum(files), 0)::bigint AS found,
           coalesce(sum(files) FILTER (WHERE state = 'read'), 0)::bigint AS read,
           coalesce(sum(files) FILTER (WHERE state = 'submitted'), 0)::bigint AS submitted,
           coalesce(sum(files) FILTER (WHERE state = 'duplicate'), 0)::bigint AS duplicates,
           coalesce(sum(files) FILTER (WHERE state = 'left_out'), 0)::bigint AS left_out
    FROM source_counts c WHERE c.source_id = s.source_id
) c
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE o.seen_at > now() - s.settle_seconds * interval '1 s') AS moving,
           count(*) FILTER (WHERE o.seen_at <= now() - s.settle_seconds * interval '1 s') AS unread,
           max(o.seen_at) AS newest_at
    FROM source_files o WHERE o.source_id = s.source_id AND o.state = 'waiting'
) w
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, max(job_id) AS last_job FROM source_jobs j WHERE j.source_id = s.source_id
) j
WHERE (%(project)s::text IS NULL OR p.slug = %(project)s) AND (%(source)s::bigint IS NULL OR s.source_id = %(source)s)
ORDER BY s.source_id
