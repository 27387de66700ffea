-- The images of a new job in the order submitted, except those that every algorithm of the pipeline has processed.
CREATE TEMPORARY TABLE selected ON COMMIT DROP AS
SELECT c.image_id, row_number() OVER (ORDER BY s.ordinal) AS ordinal
FROM submitted s
JOIN captures c ON c.project_id = %(project)s AND c.url = s.url
WHERE %(reprocess)s OR NOT EXISTS (SELECT 1 FROM pipeline_algorithms WHERE slug = %(pipeline)s) OR EXISTS (
    SELECT 1 FROM pipeline_algorithms a
    WHERE a.slug = %(pipeline)s
      AND NOT EXISTS (SELECT 1 FROM processed r WHERE r.image_id = c.image_id AND r.algorithm_id = a.algorithm_id)
)
