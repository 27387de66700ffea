SELECT s.source_id, p.slug AS project, d.name AS deployment, s.uri, s.pattern, s.pipeline, s.config, s.settle_seconds,
       s.every_seconds, s.created_by, s.created_at, s.paused_at, s.looked_at, s.next_look_at, s.failures, s.error,
       s.refusals, s.refusal, s.submit_at,
       (s.looked_at IS NULL OR s.listed_upto IS NOT NULL OR EXISTS (
           SELECT 1 FROM source_folders o WHERE o.source_id = s.source_id AND o.changed_ns IS NULL)) AS is_being_listed,
       f.found, f.moving, f.unread, f.read, f.submitted, f.duplicates, f.left_out, f.left_out_why, f.newest_at,
       j.jobs, j.last_job
FROM sources s
JOIN projects p USING (project_id)
JOIN deployments d USING (deployment_id)
CROSS JOIN LATERAL (
    SELECT count(*) AS found,
           count(*) FILTER (WHERE state = 'waiting' AND seen_at > now() - s.settle_seconds * interval '1 s') AS moving,
           count(*) FILTER (WHERE state = 'waiting' AND seen_at <= now() - s.settle_seconds * interval '1 s') AS unread,
           count(*) FILTER (WHERE state = 'read') AS read,
           count(*) FILTER (WHERE state = 'submitted') AS submitted,
           count(*) FILTER (WHERE state = 'duplicate') AS duplicates,
           count(*) FILTER (WHERE state = 'left_out') AS left_out,
           max(why) AS left_out_why, max(seen_at) AS newest_at
    FROM source_files f WHERE f.source_id = s.source_id
) f
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs, max(job_id) AS last_job FROM source_jobs j WHERE j.source_id = s.source_id
) j
WHERE (%(project)s::text IS NULL OR p.slug = %(project)s) AND (%(source)s::bigint IS NULL OR s.source_id = %(source)s)
ORDER BY s.source_id
