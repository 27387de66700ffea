-- The lines of a job's log that name an image, and those about all images, in order.
SELECT at, level, action, message, done_by AS by, details FROM job_log
WHERE job_id = %(job)s
  AND (details @> jsonb_build_object('images', jsonb_build_array(%(image)s::bigint)) OR action = ANY (%(actions)s::text[]))
ORDER BY log_id
LIMIT %(limit)s
