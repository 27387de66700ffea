UPDATE projects SET species_list = %(name)s WHERE project_id = %(project)s
