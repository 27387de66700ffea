-- The project's interactive jobs that are not over.
SELECT count(*) FROM jobs
WHERE project_id = %(project)s AND interactive AND status IN ('QUEUED', 'CLAIMED', 'RUNNING', 'CANCELING')
