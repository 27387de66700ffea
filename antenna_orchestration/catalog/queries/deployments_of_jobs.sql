SELECT j.job_id, array_agg(d.name ORDER BY d.name) AS names
FROM jobs j JOIN deployments d ON d.deployment_id = ANY (j.deployments)
WHERE j.job_id = ANY (%(jobs)s)
GROUP BY j.job_id
