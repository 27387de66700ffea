-- Starts that ended long ago; and those of pools that are in no file any more, of which nobody will say that they ended.
WITH unlooked AS (
    UPDATE worker_starts SET ended_at = now()
    WHERE ended_at IS NULL AND requested_at < now() - interval '1 day'
      AND pool NOT IN (SELECT pool FROM worker_pools WHERE looked_at > now() - interval '1 day')
), pools AS (
    DELETE FROM worker_pools WHERE looked_at < now() - interval '8 days'
)
DELETE FROM worker_starts WHERE ended_at < now() - interval '8 days'
