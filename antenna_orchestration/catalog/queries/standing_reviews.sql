-- The newest review of each of these detections that nobody withdrew, or the newest of one reviewer.
SELECT DISTINCT ON (r.job_id, r.detection_id)
    p.slug AS project, r.job_id, r.detection_id, r.label, r.reviewer, r.reviewed_at, r.imported_by, r.imported_at,
    false AS withdrawn
FROM unnest(%(jobs)s::bigint[], %(detections)s::text[]) AS wanted (job_id, detection_id)
JOIN reviews r USING (job_id, detection_id)
JOIN projects p USING (project_id)
WHERE r.label <> ''
  AND (%(reviewer)s::text IS NULL OR r.reviewer = %(reviewer)s)
  AND (%(project)s::text IS NULL OR p.slug = %(project)s)
  AND NOT EXISTS (
      SELECT FROM reviews w
      WHERE w.job_id = r.job_id AND w.detection_id = r.detection_id AND w.reviewer = r.reviewer AND w.label = ''
        AND w.review_id > r.review_id
  )
ORDER BY r.job_id, r.detection_id, r.reviewed_at DESC, r.review_id DESC
