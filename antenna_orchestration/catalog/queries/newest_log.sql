-- The last lines of a job's log, in order.
SELECT at, level, action, message, done_by AS by, details FROM (
    SELECT * FROM job_log WHERE job_id = %(job)s ORDER BY log_id DESC LIMIT %(limit)s
) newest
ORDER BY log_id
