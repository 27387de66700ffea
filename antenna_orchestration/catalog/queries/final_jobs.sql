-- Jobs whose final tables hold every row of their current generation.
SELECT j.job_id, j.generation, j.total, p.slug AS project, j.name, j.pipeline, j.pipeline_version
FROM jobs j
JOIN projects p USING (project_id)
JOIN job_generations g USING (job_id, generation)
WHERE g.compacted_at IS NOT NULL AND j.status = ANY (%(terminal)s)
  AND (%(project)s::text IS NULL OR p.slug = %(project)s)
ORDER BY j.job_id
