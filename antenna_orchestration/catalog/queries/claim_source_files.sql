-- Files whose bytes no job has become those of a job, in the transaction that makes it; the same bytes under other names
-- are duplicates from then on. Returns how many were claimed: fewer than asked for if another process was here.
WITH wanted AS (
    SELECT f.uri, f.content FROM source_files f
    JOIN unnest(%(uris)s::text[], %(versions)s::text[]) AS w (uri, version) ON w.uri = f.uri AND w.version = f.version
    WHERE f.source_id = %(source)s AND f.state = 'read'
    ORDER BY f.uri FOR UPDATE OF f
), claimed AS (
    INSERT INTO source_photographs (source_id, content, job_id)
    SELECT %(source)s, content, %(job)s FROM wanted ORDER BY content
    ON CONFLICT DO NOTHING
    RETURNING content
), noted AS (
    INSERT INTO source_jobs (job_id, source_id, night) VALUES (%(job)s, %(source)s, %(night)s)
), marked AS (
    UPDATE source_files f SET state = 'submitted'
    FROM wanted w JOIN claimed c USING (content)
    WHERE f.source_id = %(source)s AND f.uri = w.uri
)
SELECT count(*) AS claimed FROM claimed
