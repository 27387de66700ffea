SELECT s.name, jsonb_array_length(s.names) AS count, s.imported_by, s.imported_at,
       p.species_list IS NOT DISTINCT FROM s.name AS is_project_s,
       ARRAY(
           SELECT d.name FROM deployments d
           WHERE d.project_id = s.project_id AND d.species_list = s.name ORDER BY d.name COLLATE "C"
       ) AS deployments
FROM species_lists s JOIN projects p USING (project_id)
WHERE p.slug = %(project)s
ORDER BY s.name COLLATE "C"
