UPDATE alert_messages SET dropped_at = now()
WHERE sent_at IS NULL AND dropped_at IS NULL AND made_at < now() - %(after)s * interval '1 s'
