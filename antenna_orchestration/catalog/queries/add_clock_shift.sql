INSERT INTO clock_shifts (deployment_id, seconds, reason, created_by)
SELECT deployment_id, %(seconds)s, %(reason)s, %(by)s FROM deployments
WHERE project_id = %(project)s AND name = %(name)s
RETURNING shift_id
