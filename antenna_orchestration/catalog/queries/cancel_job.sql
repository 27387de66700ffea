-- Ask for cancellation; whoever works on the job sees it within seconds.
UPDATE jobs SET status = 'CANCELING', status_reason = %(reason)s
WHERE job_id = %(job)s AND status = ANY (%(from)s)
RETURNING status
