SELECT t.label, t.scientific_name, t.rank, t.lineage, t.taxon_id, t.vernacular_name, t.finest_rank
FROM taxa t JOIN projects p USING (project_id)
WHERE p.slug = %(project)s
ORDER BY t.label COLLATE "C"
LIMIT %(limit)s OFFSET %(offset)s
