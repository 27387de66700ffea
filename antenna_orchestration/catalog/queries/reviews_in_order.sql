-- In the order in which they were imported, without those that were withdrawn.
SELECT r.job_id, r.detection_id, r.label, r.reviewer, r.reviewed_at
FROM reviews r
JOIN projects p USING (project_id)
WHERE p.slug = %(project)s AND (%(jobs)s::bigint[] IS NULL OR r.job_id = ANY (%(jobs)s))
  AND r.label <> ''
  AND NOT EXISTS (
      SELECT FROM reviews w
      WHERE w.job_id = r.job_id AND w.detection_id = r.detection_id AND w.reviewer = r.reviewer AND w.label = ''
        AND w.review_id > r.review_id
  )
ORDER BY r.review_id
