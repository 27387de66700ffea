-- What is to be sent to a target now, those first that were not tried yet.
SELECT m.message_id, m.telling, m.made_at, a.key, a.event, a.project, a.subject, a.text, a.path, a.began_at
FROM alert_messages m
JOIN alerts a USING (alert_id)
LEFT JOIN alert_targets t USING (target)
WHERE m.target = %(target)s AND m.sent_at IS NULL AND m.dropped_at IS NULL
  AND coalesce(t.next_try_at, now()) <= now()
ORDER BY m.tries, m.message_id
LIMIT %(limit)s
