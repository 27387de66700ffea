-- A job's story in order, after a line already seen.
SELECT log_id, at, level, action, message, details FROM job_log
WHERE job_id = %(job)s AND log_id > %(after)s ORDER BY log_id LIMIT %(limit)s
