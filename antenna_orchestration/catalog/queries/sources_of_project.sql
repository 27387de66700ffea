-- Sources that watch for the same pipeline in a project, locked against others that are added.
SELECT source_id, uri, pattern FROM sources WHERE project_id = %(project)s AND pipeline = %(pipeline)s ORDER BY source_id
