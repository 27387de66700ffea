-- What a version of a pipeline is. Whoever says so first is right, unless nothing came of it: no job of this version is
-- under way, and none has done an image; then the version is what it is now. Returns the digest that holds, and since when.
WITH before AS (
    SELECT digest, registered_at FROM pipeline_digests WHERE slug = %(slug)s AND version = %(version)s
), unused AS (
    SELECT NOT EXISTS (
        SELECT 1 FROM jobs j JOIN job_generations g USING (job_id)
        WHERE j.pipeline = %(slug)s AND g.pipeline_version = %(version)s AND g.digest IS NOT NULL
          AND (j.generation = g.generation AND NOT j.status = ANY (%(terminal)s) OR EXISTS (
              SELECT 1 FROM job_images i
              WHERE i.job_id = g.job_id AND i.generation = g.generation AND i.status = 'done'
          ))
    ) AS is_unused
    FROM before WHERE digest <> %(digest)s
), bound AS (
    INSERT INTO pipeline_digests (slug, version, digest) VALUES (%(slug)s, %(version)s, %(digest)s)
    ON CONFLICT (slug, version) DO UPDATE SET digest = excluded.digest, registered_at = now()
    WHERE pipeline_digests.digest <> excluded.digest AND (SELECT is_unused FROM unused)
    RETURNING digest, registered_at
)
SELECT * FROM bound
UNION ALL
SELECT * FROM before WHERE NOT EXISTS (SELECT 1 FROM bound)
