-- Each of these is told once, whoever else tells it: only the first finds it untold.
UPDATE alerts SET told_at = now() WHERE alert_id = ANY (%(alerts)s::bigint[]) AND told_at IS NULL RETURNING alert_id
