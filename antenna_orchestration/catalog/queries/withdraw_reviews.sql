-- A review without a label takes back all that its reviewer said of the detection before.
INSERT INTO reviews (project_id, job_id, detection_id, label, reviewer, reviewed_at, imported_by)
SELECT j.project_id, given.job_id, given.detection_id, '', given.reviewer, now(), %(by)s
FROM unnest(%(jobs)s::bigint[], %(detections)s::text[], %(reviewers)s::text[])
    AS given (job_id, detection_id, reviewer)
JOIN jobs j USING (job_id)
