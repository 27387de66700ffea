UPDATE deletions SET cleared_at = coalesce(cleared_at, now()) WHERE job_id = ANY (%(jobs)s)
