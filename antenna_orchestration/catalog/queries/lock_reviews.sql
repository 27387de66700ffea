-- Until the end of the transaction, whoever adds reviews of these jobs' projects waits.
SELECT project_id
FROM projects
WHERE project_id IN (SELECT j.project_id FROM jobs j WHERE j.job_id = ANY (%(jobs)s))
ORDER BY project_id
FOR NO KEY UPDATE
