-- `fresh` tells whether the project did not have it before.
INSERT INTO project_pipelines (project_id, slug, worker_id) VALUES (%(project)s, %(slug)s, %(worker)s)
ON CONFLICT (project_id, slug) DO UPDATE SET worker_id = excluded.worker_id, registered_at = now()
RETURNING xmax = 0 AS fresh
