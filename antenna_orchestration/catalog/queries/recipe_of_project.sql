SELECT r.hash, r.text, r.created_by, r.created_at
FROM projects p
JOIN recipes r ON r.project_id = p.project_id AND r.hash = p.recipe
WHERE p.slug = %(project)s
