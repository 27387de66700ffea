-- The images of a new job in the order submitted, except those that every algorithm of the pipeline has processed, as
-- part of a pipeline of the same digest; one that is not known fits any. What is known of each capture was merged, and
-- locked, by ensure_captures.
CREATE TEMPORARY TABLE selected ON COMMIT DROP AS
SELECT c.image_id, row_number() OVER (ORDER BY s.ordinal) AS ordinal, s.link,
       c.captured_at, c.stamp, c.stamp_offset, c.deployment_id, NULL::bytea AS boxes
FROM submitted s
JOIN captures c ON c.project_id = %(project)s AND c.url = s.url AND c.version = s.version
WHERE %(reprocess)s OR cardinality(%(algorithms)s::bigint[]) = 0 OR EXISTS (
    SELECT 1 FROM unnest(%(algorithms)s::bigint[]) AS a (algorithm_id)
    WHERE NOT EXISTS (
        SELECT 1 FROM processed r
        WHERE r.image_id = c.image_id AND r.algorithm_id = a.algorithm_id
          AND (%(digest)s::text IS NULL OR r.digest_id = 0
               OR r.digest_id = (SELECT digest_id FROM digests WHERE digest = %(digest)s))
    )
)
