SELECT p.slug AS project, r.job_id, r.detection_id, r.label, r.reviewer, r.reviewed_at, r.imported_by, r.imported_at,
    EXISTS (
        SELECT FROM reviews w
        WHERE w.job_id = r.job_id AND w.detection_id = r.detection_id AND w.reviewer = r.reviewer AND w.label = ''
          AND w.review_id > r.review_id
    ) AS withdrawn
FROM reviews r
JOIN projects p USING (project_id)
WHERE r.label <> ''
  AND (%(project)s::text IS NULL OR p.slug = %(project)s)
  AND (%(job)s::bigint IS NULL OR r.job_id = %(job)s)
ORDER BY r.reviewed_at DESC, r.review_id DESC
LIMIT %(limit)s
