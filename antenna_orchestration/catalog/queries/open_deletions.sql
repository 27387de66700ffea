-- Deletions that are not complete, and those of late: whoever read or wrote a file of the job then may have ended since.
SELECT d.*, p.slug AS project FROM deletions d JOIN projects p USING (project_id)
WHERE d.cleared_at IS NULL OR (%(dagster)s AND d.dagster_cleared_at IS NULL) OR d.deleted_at > now() - interval '1 day'
ORDER BY d.job_id
LIMIT %(limit)s
