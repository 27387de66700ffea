-- The latest spelling of a recipe stays, with its comments; who set it first, and when, stays as well.
INSERT INTO recipes (project_id, hash, text, created_by) VALUES (%(project)s, %(hash)s, %(text)s, %(by)s)
ON CONFLICT (project_id, hash) DO UPDATE SET text = excluded.text
