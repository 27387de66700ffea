WITH opened AS (
    INSERT INTO job_generations (job_id, generation, pipeline_version, algorithms, digest)
    VALUES (%(job)s, 1, %(version)s, %(algorithms)s, %(digest)s)
)
INSERT INTO job_images (job_id, image_id, ordinal, captured_at, stamp, stamp_offset, deployment_id, link, boxes,
                        status, finished_at, width, height)
SELECT %(job)s, s.image_id, s.ordinal, s.captured_at, s.stamp, s.stamp_offset, s.deployment_id, s.link, s.boxes,
       -- Where there is nothing to classify, nothing is to be done.
       CASE WHEN s.boxes = '' THEN 'done' ELSE 'pending' END, CASE WHEN s.boxes = '' THEN now() END,
       -- The other job knows how large its images are.
       o.width, o.height
FROM selected s
LEFT JOIN job_images o ON o.job_id = %(detections_of)s AND o.image_id = s.image_id
ORDER BY s.ordinal
