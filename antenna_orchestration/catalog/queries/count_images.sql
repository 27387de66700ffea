-- The images of a job by state, with what was found.
SELECT count(*) AS total,
       count(*) FILTER (WHERE status = 'done') AS done,
       count(*) FILTER (WHERE status = 'failed') AS failed,
       count(*) FILTER (WHERE status = 'pending') AS pending,
       coalesce(sum(detections) FILTER (WHERE status = 'done'), 0)::bigint AS detections,
       coalesce(sum(classifications) FILTER (WHERE status = 'done'), 0)::bigint AS classifications
FROM job_images WHERE job_id = %(job)s
