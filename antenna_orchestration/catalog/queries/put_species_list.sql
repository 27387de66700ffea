INSERT INTO species_lists (project_id, name, names, imported_by)
VALUES (%(project)s, %(name)s, %(names)s, %(by)s)
ON CONFLICT (project_id, name) DO UPDATE
SET names = excluded.names, imported_by = excluded.imported_by, imported_at = now()
RETURNING xmax = 0 AS is_new
