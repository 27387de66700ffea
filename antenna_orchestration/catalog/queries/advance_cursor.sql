-- Raise the publishing cursor; never lower it. Returns the present status of the job.
UPDATE job_generations g SET published_upto = greatest(g.published_upto, %(upto)s)
FROM jobs j
WHERE g.job_id = %(job)s AND g.generation = %(generation)s AND j.job_id = g.job_id
RETURNING CASE WHEN j.generation = g.generation THEN j.status ELSE 'CANCELING' END AS status
