SELECT count(*) AS count FROM taxa JOIN projects p USING (project_id) WHERE p.slug = %(project)s
