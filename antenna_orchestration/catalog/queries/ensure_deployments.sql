INSERT INTO deployments (project_id, name)
SELECT DISTINCT %(project)s::bigint, deployment FROM submitted WHERE deployment IS NOT NULL
-- In this order an import makes them, too: the two wait for each other, and cannot deadlock.
ORDER BY deployment
ON CONFLICT DO NOTHING
