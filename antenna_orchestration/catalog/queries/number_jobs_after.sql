-- Number new jobs after this one at the earliest.
SELECT setval('jobs_job_id_seq', greatest(%(job)s, (SELECT last_value FROM jobs_job_id_seq)))
