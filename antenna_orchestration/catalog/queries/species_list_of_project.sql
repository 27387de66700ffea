SELECT species_list FROM projects WHERE slug = %(project)s
