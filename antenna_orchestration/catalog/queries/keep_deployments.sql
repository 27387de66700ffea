-- Submitted images that are going to be skipped (see select_images) and are known under another deployment stay in it,
-- with their times: their results are in tables that say so. Returns how many, by the name that they have and the one said.
WITH kept AS (
    SELECT s.ordinal, d.name AS has, s.deployment AS said
    FROM submitted s
    JOIN captures c ON c.project_id = %(project)s AND c.url = s.url AND c.version = s.version
    JOIN deployments d USING (deployment_id)
    WHERE d.name <> s.deployment AND NOT %(reprocess)s AND cardinality(%(algorithms)s::bigint[]) > 0 AND NOT EXISTS (
        SELECT 1 FROM unnest(%(algorithms)s::bigint[]) AS a (algorithm_id)
        WHERE NOT EXISTS (SELECT 1 FROM processed r WHERE r.image_id = c.image_id AND r.algorithm_id = a.algorithm_id)
    )
), changed AS (
    UPDATE submitted s SET deployment = kept.has, captured_at = NULL, stamp = NULL, stamp_offset = NULL
    FROM kept WHERE kept.ordinal = s.ordinal
)
SELECT has, said, count(*) AS images FROM kept GROUP BY has, said ORDER BY images DESC, has, said
