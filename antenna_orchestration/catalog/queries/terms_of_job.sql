-- The pipeline's version, algorithms and digest that a job's generation was opened with; null where that was not
-- recorded.
SELECT g.pipeline_version, (
           SELECT coalesce(array_agg(ARRAY[a.key, a.version] ORDER BY n.position), '{}')
           FROM unnest(g.algorithms) WITH ORDINALITY AS n (algorithm_id, position) JOIN algorithms a USING (algorithm_id)
       ) AS algorithms, g.digest
FROM job_generations g
WHERE g.job_id = %(job)s AND g.generation = %(generation)s
