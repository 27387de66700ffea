-- Those of the given jobs that are over and whose final tables hold every row, so that their parts may be deleted.
SELECT j.job_id FROM jobs j
JOIN job_generations g USING (job_id, generation)
WHERE j.job_id = ANY (%(jobs)s) AND j.status IN ('SUCCESS', 'FAILURE', 'CANCELED') AND g.compacted_at IS NOT NULL
