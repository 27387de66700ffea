-- Others are switched off, or there are none of their name any more.
WITH gone AS (DELETE FROM sensor_ticks WHERE NOT sensor = ANY (%(sensors)s::text[]))
INSERT INTO sensor_ticks (sensor, ticked_at, seconds, is_failed)
SELECT sensor, to_timestamp(at), seconds, is_failed
FROM unnest(%(sensors)s::text[], %(at)s::float8[], %(seconds)s::float8[], %(failed)s::boolean[]) AS t (sensor, at, seconds, is_failed)
ON CONFLICT (sensor) DO UPDATE
SET ticked_at = excluded.ticked_at, seconds = excluded.seconds, is_failed = excluded.is_failed
WHERE sensor_ticks.ticked_at <= excluded.ticked_at
