-- A person terminated the run in charge. Guarded by what the caller saw: no other run has taken the job up since. A job
-- without a pending image is not canceled: its results are complete.
UPDATE jobs j SET status = 'CANCELING', status_reason = %(reason)s
WHERE job_id = %(job)s AND generation = %(generation)s AND launch = %(launch)s
  AND run_id IS NOT DISTINCT FROM %(run_id)s AND status = ANY (%(from)s)
  AND EXISTS (SELECT FROM job_images i WHERE i.job_id = j.job_id AND i.status = 'pending')
RETURNING status
