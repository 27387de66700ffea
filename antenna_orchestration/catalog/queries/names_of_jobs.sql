SELECT j.job_id, p.slug AS project, j.name FROM jobs j JOIN projects p USING (project_id)
WHERE j.job_id = ANY (%(jobs)s)
