-- Sources with photographs that no job has. Those of which more may come at once keep no place of others: they are left out,
-- unless one of their photographs has waited for too long.
SELECT source_id, project, deployment, uri, pipeline, config, created_by, refusals, is_moving
FROM (
    SELECT s.source_id, p.slug AS project, d.name AS deployment, s.uri, s.pipeline, s.config, s.created_by, s.refusals,
           s.submit_at,
           (SELECT extract(epoch FROM now() - min(o.seen_at)) FROM source_files o
            WHERE o.source_id = s.source_id AND o.state = 'read')::float8 AS longest_waited,
           (s.looked_at IS NULL OR s.listed_upto IS NOT NULL
            OR EXISTS (SELECT 1 FROM source_folders o WHERE o.source_id = s.source_id AND o.changed_ns IS NULL)
            OR EXISTS (SELECT 1 FROM source_files o WHERE o.source_id = s.source_id AND o.state = 'waiting'
                         AND o.seen_at > now() - s.settle_seconds * interval '1 s')) AS is_moving
    FROM sources s
    JOIN projects p USING (project_id)
    JOIN deployments d USING (deployment_id)
    WHERE s.paused_at IS NULL AND s.submit_at <= now()
      AND EXISTS (SELECT 1 FROM source_files o WHERE o.source_id = s.source_id AND o.state = 'read')
    OFFSET 0
) s
WHERE NOT is_moving OR longest_waited >= %(held)s
ORDER BY submit_at, source_id
LIMIT %(limit)s
