-- What was not sent before its alert ended: that it ended says it all.
UPDATE alert_messages SET dropped_at = now(), error = 'the alert ended before'
WHERE alert_id = ANY (%(alerts)s::bigint[]) AND sent_at IS NULL AND dropped_at IS NULL
