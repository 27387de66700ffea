SELECT former_names FROM deployments WHERE project_id = %(project)s AND name = %(name)s
