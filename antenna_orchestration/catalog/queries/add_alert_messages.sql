INSERT INTO alert_messages (alert_id, target, telling)
SELECT * FROM unnest(%(alerts)s::bigint[], %(targets)s::text[], %(tellings)s::text[])
