-- Skipped images of a submission whose results are of another deployment than the one said: how many, by the two names.
-- The ledger names a job that has them; if that is of another deployment, the newest one of this pipeline counts. As for
-- what is skipped, results of another digest are none of theirs; one that is not known fits any.
WITH ledger AS MATERIALIZED (
    SELECT c.image_id, s.deployment AS said, p.deployment_id
    FROM submitted s
    JOIN captures c ON c.project_id = %(project)s AND c.url = s.url AND c.version = s.version
    CROSS JOIN LATERAL (
        SELECT i.deployment_id FROM processed r JOIN job_images i USING (job_id, image_id)
        WHERE r.image_id = c.image_id AND r.algorithm_id = ANY (%(algorithms)s::bigint[])
          AND (%(digest)s::text IS NULL OR r.digest_id = 0
               OR r.digest_id = (SELECT digest_id FROM digests WHERE digest = %(digest)s))
        ORDER BY r.job_id DESC LIMIT 1
    ) p
    JOIN deployments d ON d.deployment_id = p.deployment_id
    WHERE d.name <> s.deployment AND NOT EXISTS (SELECT 1 FROM selected x WHERE x.image_id = c.image_id)
)
SELECT d.name AS has, l.said, count(*) AS images
FROM ledger l
LEFT JOIN LATERAL (
    SELECT i.deployment_id FROM jobs j JOIN job_images i USING (job_id)
    LEFT JOIN job_generations g ON g.job_id = i.job_id AND g.generation = i.generation
    WHERE j.project_id = %(project)s AND j.pipeline = %(pipeline)s AND i.image_id = l.image_id AND i.status = 'done'
      AND (%(digest)s::text IS NULL OR g.digest IS NULL OR g.digest = %(digest)s)
    ORDER BY i.finished_at DESC, i.job_id DESC LIMIT 1
) newest ON true
JOIN deployments d ON d.deployment_id = coalesce(newest.deployment_id, l.deployment_id)
WHERE d.name <> l.said
GROUP BY d.name, l.said
ORDER BY images DESC, d.name, l.said
