SELECT alert_id, key, event, project, subject, text, path, began_at, seen_at, told_at, reminded_at
FROM alerts WHERE ended_at IS NULL
ORDER BY alert_id
