-- Whether each of the given jobs has been over since before a moment.
SELECT job_id, status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND coalesce(finished_at, created_at) < %(before)s AS is_old
FROM jobs WHERE job_id = ANY (%(jobs)s)
