INSERT INTO job_log (job_id, level, action, message, details)
VALUES (%(job)s, %(level)s, %(action)s, %(message)s, %(details)s)
