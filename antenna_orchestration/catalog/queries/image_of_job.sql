-- One image of a job as the catalog has it, and whether its task was published in the present generation.
SELECT i.image_id, i.ordinal, i.generation, i.status, i.attempts, i.reason, i.part, i.detections, i.classifications,
       i.worker, i.leased_at, i.posted_at, i.finished_at, c.url,
       i.ordinal <= coalesce(g.published_upto, 0) AS is_published
FROM job_images i
JOIN captures c USING (image_id)
LEFT JOIN job_generations g USING (job_id, generation)
WHERE i.job_id = %(job)s AND i.image_id = %(image)s
