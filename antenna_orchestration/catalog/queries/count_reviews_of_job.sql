SELECT count(*) AS reviews FROM reviews WHERE job_id = %(job)s
