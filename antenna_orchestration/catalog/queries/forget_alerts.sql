DELETE FROM alerts WHERE ended_at < now() - %(after)s * interval '1 s'
