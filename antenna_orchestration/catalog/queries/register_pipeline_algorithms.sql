WITH gone AS (DELETE FROM pipeline_algorithms WHERE slug = %(slug)s AND position >= cardinality(%(algorithms)s::bigint[]))
INSERT INTO pipeline_algorithms (slug, position, algorithm_id)
SELECT %(slug)s, n.position - 1, n.algorithm_id FROM unnest(%(algorithms)s::bigint[]) WITH ORDINALITY AS n (algorithm_id, position)
ON CONFLICT (slug, position) DO UPDATE SET algorithm_id = excluded.algorithm_id
WHERE pipeline_algorithms.algorithm_id <> excluded.algorithm_id
