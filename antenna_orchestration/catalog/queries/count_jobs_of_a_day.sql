-- Jobs that ended in the last 24 hours, found by their time.
SELECT p.slug AS project, j.status, count(*) AS jobs, coalesce(sum(j.done), 0)::bigint AS done,
       coalesce(sum(j.failed), 0)::bigint AS failed
FROM jobs j JOIN projects p USING (project_id)
WHERE j.status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND j.finished_at > now() - interval '1 day'
  AND (%(projects)s::bigint[] IS NULL OR j.project_id = ANY (%(projects)s))
GROUP BY p.slug, j.status
ORDER BY p.slug, j.status
LIMIT %(limit)s
