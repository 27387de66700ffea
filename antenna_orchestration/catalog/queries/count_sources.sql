SELECT count(*) AS sources FROM sources WHERE paused_at IS NULL
