UPDATE alerts SET ended_at = now() WHERE alert_id = ANY (%(alerts)s::bigint[]) AND ended_at IS NULL RETURNING alert_id
