SELECT EXISTS (SELECT FROM species_lists WHERE project_id = %(project)s AND name = %(name)s) AS has
