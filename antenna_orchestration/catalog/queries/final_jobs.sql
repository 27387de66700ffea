-- Jobs whose final tables hold every row of their current generation.
SELECT j.job_id, j.generation, j.total
FROM jobs j
JOIN job_generations g USING (job_id, generation)
WHERE g.compacted_at IS NOT NULL AND j.status = ANY (%(terminal)s)
ORDER BY j.job_id
