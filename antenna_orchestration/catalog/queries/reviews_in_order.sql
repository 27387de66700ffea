-- In the order in which they were imported.
SELECT r.job_id, r.detection_id, r.label, r.reviewer, r.reviewed_at
FROM reviews r
JOIN projects p USING (project_id)
WHERE p.slug = %(project)s AND (%(jobs)s::bigint[] IS NULL OR r.job_id = ANY (%(jobs)s))
ORDER BY r.review_id
