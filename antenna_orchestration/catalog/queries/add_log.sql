INSERT INTO job_log (job_id, level, action, message, done_by, details)
VALUES (%(job)s, %(level)s, %(action)s, %(message)s, %(by)s, %(details)s)
