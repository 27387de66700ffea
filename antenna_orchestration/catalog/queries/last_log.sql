-- The last line of a job's log that is not about this act.
SELECT at, level, action, message, done_by AS by, details FROM job_log
WHERE job_id = %(job)s AND action <> %(besides)s ORDER BY log_id DESC LIMIT 1
