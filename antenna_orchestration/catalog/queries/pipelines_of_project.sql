SELECT slug FROM project_pipelines WHERE project_id = %(project)s ORDER BY slug
