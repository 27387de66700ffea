-- As terms_of_job, of the present generation of many jobs.
SELECT j.job_id, g.pipeline_version, (
           SELECT coalesce(array_agg(ARRAY[a.key, a.version] ORDER BY n.position), '{}')
           FROM unnest(g.algorithms) WITH ORDINALITY AS n (algorithm_id, position) JOIN algorithms a USING (algorithm_id)
       ) AS algorithms, g.digest
FROM jobs j JOIN job_generations g USING (job_id, generation)
WHERE j.job_id = ANY (%(jobs)s::bigint[])
