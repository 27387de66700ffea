SELECT d.*, p.slug AS project FROM deletions d JOIN projects p USING (project_id) WHERE d.job_id = %(job)s
