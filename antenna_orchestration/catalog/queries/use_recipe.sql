UPDATE projects SET recipe = %(hash)s WHERE project_id = %(project)s
