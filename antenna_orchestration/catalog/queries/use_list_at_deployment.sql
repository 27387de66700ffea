UPDATE deployments SET species_list = %(name)s WHERE project_id = %(project)s AND name = %(deployment)s
RETURNING deployment_id
