-- Each target that was ever spoken to or is to be.
SELECT target, coalesce(t.failures, 0) AS failures, coalesce(t.error, '') AS error, t.failing_since, t.next_try_at, t.sent_at,
       coalesce(w.waiting, 0) AS waiting
FROM alert_targets t
FULL JOIN (
    SELECT target, count(*) AS waiting FROM alert_messages WHERE sent_at IS NULL AND dropped_at IS NULL GROUP BY target
) w USING (target)
ORDER BY target
