SELECT job_id, project_id FROM jobs WHERE job_id = ANY (%(jobs)s)
