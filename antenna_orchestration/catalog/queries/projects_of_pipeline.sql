-- The projects that a pipeline was registered for or that used it.
SELECT project_id FROM project_pipelines WHERE slug = %(slug)s
UNION SELECT DISTINCT project_id FROM jobs WHERE pipeline = %(slug)s
