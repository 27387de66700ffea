WITH opened AS (
    INSERT INTO job_generations (job_id, generation, pipeline_version, algorithms)
    VALUES (%(job)s, 1, %(version)s, %(algorithms)s)
)
INSERT INTO job_images (job_id, image_id, ordinal, captured_at, stamp, stamp_offset, deployment_id, link)
SELECT %(job)s, image_id, ordinal, captured_at, stamp, stamp_offset, deployment_id, link FROM selected ORDER BY ordinal
