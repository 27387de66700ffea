WITH sent AS (
    UPDATE alert_messages SET sent_at = now(), error = '' WHERE message_id = ANY (%(messages)s::bigint[])
)
INSERT INTO alert_targets AS t (target, sent_at) VALUES (%(target)s, now())
ON CONFLICT (target) DO UPDATE
SET failures = 0, error = '', failing_since = NULL, next_try_at = now(), sent_at = now()
