-- The lines of a job's log in order, after a given line.
SELECT log_id, at, level, action, message, done_by AS by, details FROM job_log
WHERE job_id = %(job)s AND log_id > %(after)s ORDER BY log_id LIMIT %(limit)s
