INSERT INTO worker_pools (pool, needed, on_their_way, is_short, why)
VALUES (%(pool)s, %(needed)s, %(on_their_way)s, %(is_short)s, %(why)s)
ON CONFLICT (pool) DO UPDATE
SET looked_at = now(), needed = excluded.needed, on_their_way = excluded.on_their_way, is_short = excluded.is_short,
    why = excluded.why
