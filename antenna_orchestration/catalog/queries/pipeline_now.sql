-- A pipeline's version and algorithms, to be frozen with a job, and the digest that the job is bound to: none where a
-- processing service does the work.
SELECT p.version, ARRAY (SELECT algorithm_id FROM pipeline_algorithms WHERE slug = p.slug ORDER BY position) AS algorithms,
       CASE WHEN coalesce(%(dispatch_mode)s, (SELECT dispatch_mode FROM projects WHERE project_id = %(project)s))
           = 'async_api' THEN %(digest)s::text END AS digest
FROM pipelines p WHERE p.slug = %(pipeline)s
