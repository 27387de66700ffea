-- At once, whatever went wrong before.
UPDATE sources SET paused_at = NULL, next_look_at = now(), submit_at = now() WHERE source_id = %(source)s RETURNING source_id
