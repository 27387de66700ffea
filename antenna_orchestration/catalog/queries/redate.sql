-- The clock was set back: what was written before lies in the future, so that nothing of it would grow old, and nothing of it
-- come due, until the clock has come that far again. It is set to now, and ages from now on. Not counted as old at once: the
-- next heartbeat of what lives is seconds away.
--
-- Only times by this database's clock that are compared with it, and not those that what lives writes again within seconds.
-- `clock_timestamp()` and not `now()`: a statement that waits for a lock must not take what was written meanwhile for a time
-- of the future. Five seconds more, for the clock is set a little back all the time.
WITH of_jobs AS (
    UPDATE jobs
    SET created_at = least(created_at, clock_timestamp()),
        claimed_at = CASE WHEN claimed_at > clock_timestamp() THEN clock_timestamp() ELSE claimed_at END,
        started_at = CASE WHEN started_at > clock_timestamp() THEN clock_timestamp() ELSE started_at END
    WHERE status IN ('QUEUED', 'CLAIMED', 'RUNNING', 'CANCELING')
      AND greatest(created_at, claimed_at, started_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_collectors AS (
    UPDATE collectors c
    SET started_at = least(c.started_at, clock_timestamp()), heartbeat_at = least(c.heartbeat_at, clock_timestamp())
    FROM jobs j
    WHERE j.job_id = c.job_id AND j.generation = c.generation AND j.status = 'RUNNING'
      AND greatest(c.started_at, c.heartbeat_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_runs AS (
    UPDATE run_heartbeats
    SET started_at = least(started_at, clock_timestamp()), heartbeat_at = least(heartbeat_at, clock_timestamp())
    WHERE greatest(started_at, heartbeat_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_starts AS (
    -- All by the same: which of them came first decides what counts as a failure.
    UPDATE worker_starts w
    SET requested_at = w.requested_at - a.ahead, running_at = w.running_at - a.ahead, heard_at = w.heard_at - a.ahead,
        ended_at = w.ended_at - a.ahead
    FROM (
        SELECT max(greatest(requested_at, running_at, heard_at, ended_at)) - clock_timestamp() AS ahead FROM worker_starts
    ) a
    WHERE greatest(w.requested_at, w.running_at, w.heard_at, w.ended_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_sources AS (
    -- Times to come are right up to a pause: after failures it is at most 72 minutes long (`domain/watching.py`).
    UPDATE sources
    SET looked_at = CASE WHEN looked_at > clock_timestamp() THEN clock_timestamp() ELSE looked_at END,
        next_look_at = least(next_look_at, clock_timestamp()), submit_at = least(submit_at, clock_timestamp())
    WHERE paused_at IS NULL AND (
        looked_at > clock_timestamp() + interval '5 s'
        OR next_look_at > clock_timestamp() + interval '5 s' + CASE
            WHEN failures > 0 THEN interval '75 min'
            WHEN looked_at IS NULL OR listed_upto IS NOT NULL THEN interval '0 s'
            -- By a cron expression it may be far off.
            WHEN cron <> '' THEN interval '1000 years'
            ELSE every_seconds * interval '1 s' END
        OR submit_at > clock_timestamp() + interval '5 s'
            + CASE WHEN refusals > 0 THEN interval '75 min' ELSE interval '0 s' END)
    RETURNING source_id
), of_files AS (
    -- There may be millions, so of these sources only.
    UPDATE source_files f
    SET seen_at = least(f.seen_at, clock_timestamp()),
        read_at = CASE WHEN f.read_at > clock_timestamp() THEN clock_timestamp() ELSE f.read_at END
    FROM of_sources s
    WHERE f.source_id = s.source_id AND f.state IN ('waiting', 'read', 'left_out')
      AND greatest(f.seen_at, f.read_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_alerts AS (
    UPDATE alerts
    SET began_at = least(began_at, clock_timestamp()), seen_at = least(seen_at, clock_timestamp()),
        told_at = CASE WHEN told_at > clock_timestamp() THEN clock_timestamp() ELSE told_at END,
        reminded_at = CASE WHEN reminded_at > clock_timestamp() THEN clock_timestamp() ELSE reminded_at END
    WHERE ended_at IS NULL
      AND greatest(began_at, seen_at, told_at, reminded_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_targets AS (
    -- Their pauses after failures are up to 36 minutes long (`upkeep/alerts.py`).
    UPDATE alert_targets SET next_try_at = clock_timestamp()
    WHERE next_try_at > clock_timestamp() + interval '5 s'
        + CASE WHEN failures > 0 THEN interval '40 min' ELSE interval '0 s' END
    RETURNING 1
), of_rounds AS (
    UPDATE alert_rounds
    SET began_at = least(began_at, clock_timestamp()), looked_at = least(looked_at, clock_timestamp())
    WHERE greatest(began_at, looked_at) > clock_timestamp() + interval '5 s'
    RETURNING 1
), of_ticks AS (
    UPDATE sensor_ticks SET ticked_at = clock_timestamp()
    WHERE ticked_at > clock_timestamp() + interval '5 s'
    RETURNING 1
)
SELECT (SELECT count(*) FROM of_jobs) + (SELECT count(*) FROM of_collectors) + (SELECT count(*) FROM of_runs)
     + (SELECT count(*) FROM of_starts) + (SELECT count(*) FROM of_sources) + (SELECT count(*) FROM of_files)
     + (SELECT count(*) FROM of_alerts) + (SELECT count(*) FROM of_targets) + (SELECT count(*) FROM of_rounds)
     + (SELECT count(*) FROM of_ticks) AS rows
