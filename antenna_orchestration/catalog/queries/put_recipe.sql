-- The first spelling of a recipe stays.
INSERT INTO recipes (project_id, hash, text, created_by) VALUES (%(project)s, %(hash)s, %(text)s, %(by)s)
ON CONFLICT (project_id, hash) DO NOTHING
