-- Of each pool: starts in a row that ended badly before they worked, the last of them, and seconds of workers in the last
-- day.
SELECT pool,
       -- Those of one round count as one.
       count(DISTINCT requested_at) FILTER (WHERE is_bad AND requested_at > last_good)::int AS failures,
       extract(epoch FROM now() - max(ended_at) FILTER (WHERE is_bad AND requested_at > last_good))::float8
           AS failed_ago,
       (array_agg(error ORDER BY ended_at DESC) FILTER (WHERE is_bad))[1] AS error,
       coalesce(sum(extract(epoch FROM coalesce(ended_at, now()) - greatest(began, now() - interval '1 day')))
                FILTER (WHERE began IS NOT NULL AND coalesce(ended_at, now()) > now() - interval '1 day'), 0)::float8
           AS used
FROM (
    SELECT pool, error, error <> '' AND NOT worked AS is_bad, requested_at, ended_at,
           least(running_at, heard_at) AS began,
           coalesce(max(requested_at) FILTER (WHERE worked OR (heard_at IS NOT NULL AND error = ''))
                        OVER (PARTITION BY pool), '-infinity') AS last_good
    FROM worker_starts
    WHERE requested_at > now() - interval '8 days'
) recent
GROUP BY pool
