-- Launch a job again whose run is gone. `launch` is the guard: of two callers that see the same, one succeeds. A launch
-- counts as stalled when it accounted for no image, did not stop in order and lasted less than five minutes. No run has
-- taken up the new launch yet.
WITH now_accounted AS (
    SELECT count(*) AS accounted FROM job_images WHERE job_id = %(job)s AND status <> 'pending'
)
UPDATE jobs j
SET launch = j.launch + 1,
    claimed_at = now(),
    run_id = NULL,
    stalled_launches = CASE
        WHEN a.accounted > j.accounted_at_launch THEN 0
        WHEN c.left_at IS NOT NULL OR c.heartbeat_at - c.started_at > interval '5 minutes' THEN 0
        ELSE j.stalled_launches + 1
    END,
    accounted_at_launch = a.accounted
FROM now_accounted a, jobs same
LEFT JOIN collectors c ON c.job_id = same.job_id AND c.generation = same.generation
WHERE j.job_id = %(job)s AND same.job_id = j.job_id
  AND j.launch = %(launch)s AND j.status IN ('CLAIMED', 'RUNNING')
RETURNING j.stalled_launches
