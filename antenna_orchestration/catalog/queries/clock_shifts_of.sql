SELECT s.seconds, s.reason, s.created_by, s.created_at, s.undone_by, s.undone_at
FROM clock_shifts s JOIN deployments d USING (deployment_id)
WHERE d.project_id = %(project)s AND d.name = %(name)s
ORDER BY s.shift_id
