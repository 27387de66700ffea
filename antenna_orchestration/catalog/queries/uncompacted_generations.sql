-- Earlier generations whose rows are not in final tables; the tables that they left are not final.
SELECT generation FROM job_generations
WHERE job_id = %(job)s AND generation < %(generation)s AND compacted_at IS NULL
