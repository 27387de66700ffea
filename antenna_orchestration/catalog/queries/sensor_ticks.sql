SELECT sensor, greatest(extract(epoch FROM now() - ticked_at), 0)::float8 AS ago, seconds, is_failed
FROM sensor_ticks ORDER BY sensor
