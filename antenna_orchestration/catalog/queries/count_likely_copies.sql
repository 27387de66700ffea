-- Of these local files, those that are new, at a path where a file of the same size is known by another time.
SELECT count(*) AS images
FROM projects p
CROSS JOIN unnest(%(urls)s::text[], %(versions)s::text[]) AS s (url, version)
-- With a limit, so that each is looked up by the index, however many captures there are.
CROSS JOIN LATERAL (
    SELECT 1 FROM captures k
    WHERE k.project_id = p.project_id AND k.url = s.url
      AND split_part(k.version, '-', 1) = split_part(s.version, '-', 1)
    LIMIT 1
) known
WHERE p.slug = %(project)s
  AND NOT EXISTS (SELECT 1 FROM captures c WHERE c.project_id = p.project_id AND c.url = s.url AND c.version = s.version)
