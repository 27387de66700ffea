UPDATE deletions SET dagster_cleared_at = coalesce(dagster_cleared_at, now()) WHERE job_id = ANY (%(jobs)s)
