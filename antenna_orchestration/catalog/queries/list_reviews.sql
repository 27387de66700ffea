SELECT p.slug AS project, r.job_id, r.detection_id, r.label, r.reviewer, r.reviewed_at, r.imported_by, r.imported_at
FROM reviews r
JOIN projects p USING (project_id)
WHERE (%(project)s::text IS NULL OR p.slug = %(project)s)
  AND (%(job)s::bigint IS NULL OR r.job_id = %(job)s)
ORDER BY r.reviewed_at DESC, r.review_id DESC
LIMIT %(limit)s
