-- All projects, or those of a token.
SELECT project_id, slug, name, image_root, dispatch_mode, dataset IS NOT NULL AS has_dataset, pulls_pipelines FROM projects
WHERE %(projects)s::bigint[] IS NULL OR project_id = ANY (%(projects)s)
ORDER BY slug
