-- Jobs that have been over for so long, the oldest first; null filters match everything.
SELECT j.job_id FROM jobs j JOIN projects p USING (project_id)
WHERE j.status = ANY (%(statuses)s::text[]) AND coalesce(j.finished_at, j.created_at) < now() - %(seconds)s * interval '1 s'
  AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY j.job_id
LIMIT %(limit)s
