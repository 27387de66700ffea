SELECT r.hash, r.text, r.created_by, r.created_at, r.hash IS NOT DISTINCT FROM p.recipe AS holds
FROM projects p
JOIN recipes r USING (project_id)
WHERE p.slug = %(project)s
ORDER BY r.created_at DESC, r.hash
