INSERT INTO pipeline_speeds (pool, pipeline, seconds) VALUES (%(pool)s, %(pipeline)s, %(seconds)s)
ON CONFLICT (pool, pipeline) DO UPDATE SET seconds = excluded.seconds, measured_at = now()
