-- What was decided lately; a pool that nobody looks after any more is not waited for.
SELECT pool, is_short OR on_their_way > 0 AS is_waited_for, why FROM worker_pools
WHERE looked_at > now() - make_interval(secs => %(within)s) ORDER BY pool
