SELECT project_id FROM projects WHERE slug = %(slug)s
