DELETE FROM worker_starts WHERE ended_at < now() - interval '8 days'
