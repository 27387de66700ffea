-- The project that may change a pipeline which workers registered: the one that registered it first, as far as is known.
-- Null for those of an installation and for public ones.
ALTER TABLE pipelines ADD COLUMN owner_id bigint REFERENCES projects;
UPDATE pipelines p SET owner_id = (
    SELECT r.project_id FROM project_pipelines r WHERE r.slug = p.slug ORDER BY r.registered_at, r.project_id LIMIT 1
)
WHERE NOT p.is_public;
