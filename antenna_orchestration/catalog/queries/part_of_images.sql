-- The done images whose rows no final table holds yet, one row per part that holds them, with the version of the pipeline
-- that did them: a part is of one generation.
SELECT i.part, array_agg(i.image_id) AS images, max(coalesce(g.pipeline_version, j.pipeline_version)) AS version
FROM job_images i
JOIN job_generations g USING (job_id, generation)
JOIN jobs j USING (job_id)
WHERE i.job_id = %(job)s AND i.status = 'done' AND i.part IS NOT NULL AND g.compacted_at IS NULL
GROUP BY i.part ORDER BY i.part
