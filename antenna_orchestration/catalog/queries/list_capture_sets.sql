SELECT s.set_id, p.slug AS project, s.name, s.rule, s.photographs, s.not_chosen, s.created_by, s.created_at, s.made_at
FROM capture_sets s JOIN projects p USING (project_id)
WHERE (%(project)s::text IS NULL OR p.slug = %(project)s) AND (%(name)s::text IS NULL OR s.name = %(name)s)
ORDER BY p.slug, s.name
