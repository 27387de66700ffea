-- One that fails is tried each half hour: this one is in no file any more, or nothing waits for it.
DELETE FROM alert_targets WHERE failures > 0 AND next_try_at < now() - interval '1 day'
