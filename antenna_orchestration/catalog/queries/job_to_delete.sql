-- The job, which nothing else changes until the end of the transaction; whether its run was heard of late, which may
-- still write its reports; and the jobs that classify its boxes.
SELECT j.job_id, p.slug AS project, j.project_id, j.name, j.pipeline, j.generation, j.status, j.total,
       EXISTS (SELECT 1 FROM run_heartbeats r
               WHERE r.run_id = j.run_id AND r.heartbeat_at > now() - %(heard)s * interval '1 s') AS is_heard,
       ARRAY (SELECT o.job_id FROM jobs o WHERE o.detections_of = j.job_id ORDER BY o.job_id) AS built_on
FROM jobs j JOIN projects p USING (project_id)
WHERE j.job_id = %(job)s
FOR UPDATE OF j
