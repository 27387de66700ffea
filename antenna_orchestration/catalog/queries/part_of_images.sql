-- The done images whose rows no final table holds yet, one row per part that holds them.
SELECT i.part, array_agg(i.image_id) AS images FROM job_images i
JOIN job_generations g USING (job_id, generation)
WHERE i.job_id = %(job)s AND i.status = 'done' AND i.part IS NOT NULL AND g.compacted_at IS NULL
GROUP BY i.part ORDER BY i.part
