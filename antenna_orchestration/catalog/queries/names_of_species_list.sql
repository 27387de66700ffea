SELECT s.names FROM species_lists s JOIN projects p USING (project_id)
WHERE p.slug = %(project)s AND s.name = %(name)s
