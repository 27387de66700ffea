-- Where another job has done an image of this one by the same algorithms, the ledger names that job from then on. Only
-- jobs with an image in the same range are looked at: one look at an index each. Those that go as well get none.
WITH mine AS MATERIALIZED (
    SELECT r.image_id, r.algorithm_id, r.digest_id
    FROM job_images i JOIN processed r USING (image_id)
    WHERE i.job_id = %(job)s AND r.job_id = %(job)s
), bounds AS (
    SELECT min(image_id) AS first, max(image_id) AS last FROM mine
), others AS MATERIALIZED (
    SELECT j.job_id, (SELECT max(g.generation) FROM job_generations g
                      WHERE g.job_id = j.job_id AND g.compacted_at IS NOT NULL) AS compacted
    FROM jobs j, bounds b
    WHERE j.project_id = %(project)s AND j.job_id <> %(job)s AND j.job_id <> ALL (%(along_with)s::bigint[])
      AND EXISTS (SELECT 1 FROM job_images i WHERE i.job_id = j.job_id AND i.image_id BETWEEN b.first AND b.last)
), again AS (
    SELECT m.image_id, m.algorithm_id, m.digest_id, max(i.job_id) AS job_id
    FROM others o
    JOIN job_images i USING (job_id)
    JOIN mine m USING (image_id)
    JOIN job_generations g USING (job_id, generation)
    LEFT JOIN digests d USING (digest)
    WHERE i.status = 'done' AND NOT i.by_others AND i.boxes IS NULL AND i.generation <= o.compacted
      AND m.algorithm_id = ANY (g.algorithms) AND m.digest_id = coalesce(d.digest_id, 0)
    GROUP BY m.image_id, m.algorithm_id, m.digest_id
)
UPDATE processed r SET job_id = a.job_id
FROM again a
WHERE r.image_id = a.image_id AND r.algorithm_id = a.algorithm_id AND r.digest_id = a.digest_id
