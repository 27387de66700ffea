UPDATE alerts SET reminded_at = now()
WHERE alert_id = ANY (%(alerts)s::bigint[]) AND ended_at IS NULL
  AND coalesce(reminded_at, told_at) <= now() - %(after)s * interval '1 s'
RETURNING alert_id
