-- What each worker did in each night in which it worked, noon to noon UTC, for the jobs of a project that ended lately.
SELECT i.worker, concat_ws(' ', j.pipeline, j.pipeline_version) AS pipeline,
       ((i.finished_at AT TIME ZONE 'UTC') - interval '12 hours')::date AS night, count(*) AS photographs,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY i.seconds)::double precision AS seconds
FROM jobs j
JOIN projects p USING (project_id)
JOIN job_images i USING (job_id)
WHERE p.slug = %(project)s AND j.finished_at >= %(since)s AND i.status = 'done' AND i.seconds > 0
  AND i.worker IS NOT NULL
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
