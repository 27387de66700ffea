-- What is wrong now, and what ended of late; each with what was told of it.
SELECT a.alert_id, a.key, a.event, a.project, a.subject, a.text, a.path, a.began_at, a.seen_at, a.told_at, a.reminded_at,
       a.ended_at,
       coalesce((
           SELECT jsonb_agg(jsonb_build_object(
                      'target', m.target, 'telling', m.telling, 'tries', m.tries, 'error', m.error,
                      'sent_at', m.sent_at, 'dropped_at', m.dropped_at
                  ) ORDER BY m.message_id)
           FROM alert_messages m WHERE m.alert_id = a.alert_id
       ), '[]') AS messages
FROM alerts a
WHERE (a.ended_at IS NULL OR (%(ended)s AND a.told_at IS NOT NULL))
  AND (%(project)s::text IS NULL OR a.project = %(project)s)
ORDER BY a.ended_at IS NOT NULL, a.alert_id DESC
LIMIT %(limit)s
