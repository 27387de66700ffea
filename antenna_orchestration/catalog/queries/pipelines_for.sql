-- The pipelines that some projects (null: all) may run: public ones, and those registered for them.
SELECT p.slug, p.name, p.version, p.description, p.is_public, p.registered_at,
       coalesce((
           SELECT jsonb_agg(jsonb_build_object('id', a.algorithm_id, 'key', a.key, 'version', a.version, 'name', a.name,
                                               'task_type', a.task, 'description', a.description, 'uri', a.uri,
                                               'category_count', jsonb_array_length(a.labels))
                            ORDER BY l.position)
           FROM pipeline_algorithms l JOIN algorithms a USING (algorithm_id) WHERE l.slug = p.slug
       ), '[]') AS algorithms
FROM pipelines p
WHERE p.is_public OR %(projects)s::bigint[] IS NULL OR EXISTS (
    SELECT 1 FROM project_pipelines r WHERE r.slug = p.slug AND r.project_id = ANY (%(projects)s)
)
ORDER BY p.slug
