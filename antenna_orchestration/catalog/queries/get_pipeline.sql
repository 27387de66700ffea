-- A pipeline with its algorithms in order; with a project (its slug), only if that may run it.
SELECT p.slug, p.name, p.version, p.description, p.default_config, p.is_public, p.owner_id, p.takes_detections,
       coalesce(jsonb_agg(jsonb_build_object(
           'key', a.key, 'version', a.version, 'name', a.name, 'task', a.task, 'description', a.description,
           'uri', a.uri, 'labels', a.labels, 'categories', a.categories
       ) ORDER BY l.position) FILTER (WHERE a.algorithm_id IS NOT NULL), '[]') AS algorithms
FROM pipelines p
LEFT JOIN pipeline_algorithms l USING (slug)
LEFT JOIN algorithms a USING (algorithm_id)
WHERE p.slug = %(slug)s AND (%(project)s::text IS NULL OR p.is_public OR EXISTS (
    SELECT 1 FROM project_pipelines r JOIN projects USING (project_id)
    WHERE r.slug = p.slug AND projects.slug = %(project)s
))
GROUP BY p.slug
