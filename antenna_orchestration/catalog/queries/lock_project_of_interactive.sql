-- As lock_project.sql, the project of a job; no row if the job is not interactive.
SELECT p.project_id FROM projects p JOIN jobs j USING (project_id)
WHERE j.job_id = %(job)s AND j.interactive FOR NO KEY UPDATE OF p
