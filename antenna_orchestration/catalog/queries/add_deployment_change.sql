INSERT INTO deployment_changes (deployment_id, done_by, changes)
SELECT deployment_id, %(by)s, %(changes)s FROM deployments WHERE project_id = %(project)s AND name = %(name)s
