-- Sources that need a person: not listed, not submitted, or due for so long that nobody looks.
SELECT s.source_id, p.slug AS project, d.name AS deployment, s.uri, s.error, s.refusal,
       greatest(extract(epoch FROM now() - s.next_look_at), 0)::float8 AS overdue
FROM sources s
JOIN projects p USING (project_id)
JOIN deployments d USING (deployment_id)
WHERE s.paused_at IS NULL AND (%(project)s::text IS NULL OR p.slug = %(project)s)
  AND (s.error <> '' OR s.refusal <> '' OR s.next_look_at < now() - %(overdue)s * interval '1 s')
ORDER BY s.source_id
