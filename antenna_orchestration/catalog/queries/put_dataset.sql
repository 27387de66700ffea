-- Null takes it back.
UPDATE projects
SET dataset = %(text)s,
    dataset_by = CASE WHEN %(text)s::text IS NULL THEN NULL ELSE %(by)s END,
    dataset_at = CASE WHEN %(text)s::text IS NULL THEN NULL ELSE now() END
WHERE slug = %(slug)s
RETURNING project_id
