UPDATE deployments
SET former_names = former_names || jsonb_build_object('name', name, 'by', %(by)s::text, 'at', now()), name = %(new)s
WHERE project_id = %(project)s AND name = %(old)s
RETURNING deployment_id
