WITH opened AS (INSERT INTO job_generations (job_id, generation) VALUES (%(job)s, 1))
INSERT INTO job_images (job_id, image_id, ordinal) SELECT %(job)s, image_id, ordinal FROM selected ORDER BY ordinal
