-- Into a terminal status, with the counts. Guarded: a terminal status never changes. `collected` says that the final
-- tables hold every row: then no image may be pending, and the parts are no longer needed.
WITH finished AS (
    UPDATE jobs j
    SET status = %(status)s, status_reason = %(reason)s, finished_at = now(),
        done = n.done, failed = n.failed, detections = n.detections, classifications = n.classifications
    FROM (
        SELECT count(*) FILTER (WHERE status = 'done') AS done,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'pending') AS pending,
               coalesce(sum(detections) FILTER (WHERE status = 'done'), 0) AS detections,
               coalesce(sum(classifications) FILTER (WHERE status = 'done'), 0) AS classifications
        FROM job_images WHERE job_id = %(job)s
    ) n
    WHERE j.job_id = %(job)s AND j.generation = %(generation)s AND j.status = ANY (%(from)s)
      AND NOT (%(collected)s AND n.pending > 0)
    RETURNING j.job_id, j.status
), compacted AS (
    UPDATE job_generations g SET compacted_at = now()
    FROM finished f
    WHERE g.job_id = f.job_id AND g.generation <= %(generation)s AND %(collected)s AND g.compacted_at IS NULL
)
SELECT status FROM finished
