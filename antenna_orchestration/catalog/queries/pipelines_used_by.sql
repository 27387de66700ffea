-- The pipelines of a project (its slug): those that its jobs ran, and those that workers registered for it.
SELECT pipeline AS slug FROM jobs JOIN projects p USING (project_id) WHERE p.slug = %(project)s
UNION
SELECT r.slug FROM project_pipelines r JOIN projects p USING (project_id) WHERE p.slug = %(project)s
ORDER BY slug
