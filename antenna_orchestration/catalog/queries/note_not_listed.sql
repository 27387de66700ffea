UPDATE sources SET failures = failures + 1, error = %(error)s, next_look_at = now() + %(pause)s * interval '1 s'
WHERE source_id = %(source)s
