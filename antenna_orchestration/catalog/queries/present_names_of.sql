-- The names that deployments have now, for names of now or of before, in their order; what nobody had stays as it is.
SELECT coalesce(
    (SELECT d.name FROM deployments d WHERE d.project_id = %(project)s AND d.name = w.name),
    (SELECT d.name FROM deployments d
     WHERE d.project_id = %(project)s AND d.former_names @> jsonb_build_array(jsonb_build_object('name', w.name))
     ORDER BY d.deployment_id DESC LIMIT 1),
    w.name) AS name
FROM unnest(%(names)s::text[]) WITH ORDINALITY AS w (name, ordinal)
ORDER BY w.ordinal
