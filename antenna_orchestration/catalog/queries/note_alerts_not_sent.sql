WITH tried AS (
    UPDATE alert_messages SET tries = tries + 1, error = %(error)s WHERE message_id = ANY (%(messages)s::bigint[])
)
INSERT INTO alert_targets AS t (target, failures, error, failing_since, next_try_at)
VALUES (%(target)s, 1, %(error)s, now(), now() + %(pause)s * interval '1 s')
ON CONFLICT (target) DO UPDATE
SET failures = t.failures + 1, error = excluded.error, failing_since = coalesce(t.failing_since, now()),
    next_try_at = excluded.next_try_at
