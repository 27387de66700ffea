INSERT INTO worker_starts (start_id, pool) SELECT unnest(%(starts)s::text[]), %(pool)s
