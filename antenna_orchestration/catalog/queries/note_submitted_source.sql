-- Next time, those that wait longer come first.
UPDATE sources SET refusals = 0, refusal = '', submit_at = now() WHERE source_id = %(source)s
