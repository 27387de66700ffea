-- A run starts to work on the job: CLAIMED becomes RUNNING; RUNNING stays (a re-launch). A run serves one launch: one
-- that was given up as dead, and was not, must not take the job from its successor.
UPDATE jobs SET status = 'RUNNING', started_at = coalesce(started_at, now()), run_id = %(run_id)s
WHERE job_id = %(job)s AND generation = %(generation)s AND status IN ('CLAIMED', 'RUNNING')
  AND launch = coalesce(%(launch)s, launch)
RETURNING status
