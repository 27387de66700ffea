-- The lines that prune_log would delete.
SELECT count(*) AS lines FROM job_log l JOIN jobs j USING (job_id)
WHERE l.at < %(before)s AND j.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
