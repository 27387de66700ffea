-- A pipeline's version and algorithms, to be frozen with a job.
SELECT p.version, ARRAY (SELECT algorithm_id FROM pipeline_algorithms WHERE slug = p.slug ORDER BY position) AS algorithms
FROM pipelines p WHERE p.slug = %(pipeline)s
