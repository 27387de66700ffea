-- Which versions of pipelines have processed photographs of a set, in any job of its project.
SELECT j.pipeline, coalesce(g.pipeline_version, j.pipeline_version) AS version,
       count(DISTINCT i.image_id) AS photographs,
       count(DISTINCT i.image_id) FILTER (WHERE i.detections > 0) AS with_detections
FROM capture_sets s
JOIN capture_set_images c USING (set_id)
JOIN jobs j ON j.project_id = s.project_id
JOIN job_images i ON i.job_id = j.job_id AND i.image_id = c.image_id AND i.status = 'done'
LEFT JOIN job_generations g ON g.job_id = i.job_id AND g.generation = i.generation
WHERE s.set_id = %(set)s
GROUP BY 1, 2
ORDER BY 1, 2
