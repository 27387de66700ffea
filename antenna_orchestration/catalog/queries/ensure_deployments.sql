INSERT INTO deployments (project_id, name)
SELECT DISTINCT %(project)s::bigint, deployment FROM submitted WHERE deployment IS NOT NULL
ON CONFLICT DO NOTHING
