INSERT INTO deployments (project_id, name) VALUES (%(project)s, %(deployment)s) ON CONFLICT DO NOTHING
