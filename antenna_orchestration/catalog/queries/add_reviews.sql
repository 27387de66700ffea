-- A review without a time is one of now, unless its reviewer's last word on the detection is the same.
WITH given AS (
    SELECT *
    FROM unnest(
        %(jobs)s::bigint[], %(detections)s::text[], %(labels)s::text[], %(reviewers)s::text[], %(times)s::timestamptz[]
    ) WITH ORDINALITY AS given (job_id, detection_id, label, reviewer, reviewed_at, place)
), added AS (
    INSERT INTO reviews (project_id, job_id, detection_id, label, reviewer, reviewed_at, imported_by)
    SELECT j.project_id, g.job_id, g.detection_id, g.label, g.reviewer, coalesce(g.reviewed_at, now()), %(imported_by)s
    FROM given g
    JOIN jobs j USING (job_id)
    LEFT JOIN LATERAL (
        SELECT r.label
        FROM reviews r
        WHERE r.job_id = g.job_id AND r.detection_id = g.detection_id AND r.reviewer = g.reviewer
        ORDER BY r.reviewed_at DESC, r.review_id DESC
        LIMIT 1
    ) last ON g.reviewed_at IS NULL
    WHERE g.reviewed_at IS NOT NULL OR last.label IS DISTINCT FROM g.label
    ORDER BY g.place
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) AS added FROM added
