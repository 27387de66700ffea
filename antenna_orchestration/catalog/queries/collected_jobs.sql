-- Running jobs whose collector was heard within the last minute.
SELECT j.job_id, j.generation
FROM jobs j JOIN collectors c USING (job_id, generation)
WHERE j.status = 'RUNNING' AND c.left_at IS NULL AND c.heartbeat_at > now() - interval '1 minute'
ORDER BY j.job_id
LIMIT %(limit)s
