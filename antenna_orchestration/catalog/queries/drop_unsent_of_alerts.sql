-- What was not sent before its alert ended, or is told again: what is told now says it all.
UPDATE alert_messages SET dropped_at = now(), error = 'a later message says it'
WHERE alert_id = ANY (%(alerts)s::bigint[]) AND sent_at IS NULL AND dropped_at IS NULL
