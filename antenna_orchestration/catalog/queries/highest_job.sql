-- The highest number that was given to a job, deleted ones among them; 0 if none was.
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END AS job FROM jobs_job_id_seq
