-- A pipeline that another project took over is no longer for those that had it.
DELETE FROM project_pipelines WHERE slug = %(slug)s AND project_id <> %(owner)s
