-- Jobs that are not over, as few as there are: what ended is not looked at.
SELECT p.slug AS project, j.pipeline, j.status, count(*) AS jobs, sum(j.total)::bigint AS images
FROM jobs j JOIN projects p USING (project_id)
WHERE j.status IN ('QUEUED', 'CLAIMED', 'RUNNING', 'CANCELING')
  AND (%(projects)s::bigint[] IS NULL OR j.project_id = ANY (%(projects)s))
GROUP BY p.slug, j.pipeline, j.status
ORDER BY p.slug, j.pipeline, j.status
LIMIT %(limit)s
