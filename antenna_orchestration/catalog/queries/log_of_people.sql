-- The last lines of a job's log that say who did it, in order.
SELECT at, level, action, message, done_by AS by, details FROM (
    SELECT * FROM job_log WHERE job_id = %(job)s AND done_by <> '' ORDER BY log_id DESC LIMIT %(limit)s
) newest
ORDER BY log_id
