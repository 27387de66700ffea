-- The workers behind gateways whose tokens are for one of the projects (null: all workers), oldest first.
SELECT w.worker_id, w.name, w.kind, w.details, w.last_seen,
       coalesce((SELECT array_agg(s.project_id ORDER BY s.project_id) FROM token_projects s
                 WHERE s.token_id = w.token_id AND (%(projects)s::bigint[] IS NULL OR s.project_id = ANY (%(projects)s))),
                '{}') AS projects,
       coalesce((SELECT array_agg(DISTINCT r.slug ORDER BY r.slug) FROM project_pipelines r
                 WHERE r.worker_id = w.worker_id
                   AND (%(projects)s::bigint[] IS NULL OR r.project_id = ANY (%(projects)s))), '{}') AS pipelines
FROM workers w
WHERE %(projects)s::bigint[] IS NULL OR EXISTS (
    SELECT 1 FROM token_projects s WHERE s.token_id = w.token_id AND s.project_id = ANY (%(projects)s)
)
ORDER BY w.worker_id
