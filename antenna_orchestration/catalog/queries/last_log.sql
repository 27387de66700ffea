-- The last line of a job's log that is about one of these acts.
SELECT at, level, action, message, done_by AS by, details FROM job_log
WHERE job_id = %(job)s AND action = ANY(%(acts)s) ORDER BY log_id DESC LIMIT 1
