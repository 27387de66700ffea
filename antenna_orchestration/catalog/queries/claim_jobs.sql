-- QUEUED jobs become CLAIMED, interactive and important ones first. SKIP LOCKED: two sensors never claim one twice.
UPDATE jobs SET status = 'CLAIMED', launch = launch + 1, claimed_at = now()
WHERE job_id IN (
    SELECT job_id FROM jobs
    WHERE status = 'QUEUED' AND (%(job)s::bigint IS NULL OR job_id = %(job)s)
    ORDER BY interactive DESC, priority DESC, job_id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING job_id
