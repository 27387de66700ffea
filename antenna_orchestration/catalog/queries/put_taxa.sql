-- Returns how many labels are new; of the others, what was known is replaced.
WITH put AS (
    INSERT INTO taxa (project_id, label, scientific_name, rank, lineage, taxon_id, vernacular_name, finest_rank,
                      imported_by)
    SELECT %(project)s, t.label, t.scientific_name, t.rank, t.lineage, t.taxon_id, t.vernacular_name, t.finest_rank,
           %(by)s
    FROM jsonb_to_recordset(%(taxa)s) AS t (
        label text, scientific_name text, rank text, lineage jsonb, taxon_id text, vernacular_name text,
        finest_rank text
    )
    ON CONFLICT (project_id, label) DO UPDATE
    SET scientific_name = excluded.scientific_name, rank = excluded.rank, lineage = excluded.lineage,
        taxon_id = excluded.taxon_id, vernacular_name = excluded.vernacular_name, finest_rank = excluded.finest_rank,
        imported_by = excluded.imported_by, imported_at = now()
    RETURNING xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS new FROM put
