-- The last changes of a deployment's description, newest first.
SELECT c.at, c.done_by AS by, c.changes
FROM deployment_changes c JOIN deployments d USING (deployment_id)
WHERE d.project_id = %(project)s AND d.name = %(name)s
ORDER BY c.change_id DESC
LIMIT %(limit)s
