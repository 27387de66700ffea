-- Note that somebody looks; gives since when. After a day without, it begins anew: older failures are not told any more.
INSERT INTO alert_rounds AS r (is_only) VALUES (true)
ON CONFLICT (is_only) DO UPDATE SET looked_at = now(),
    began_at = CASE WHEN r.looked_at < now() - interval '1 day' THEN now() ELSE r.began_at END
RETURNING began_at
