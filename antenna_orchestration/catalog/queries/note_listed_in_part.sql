UPDATE sources SET next_look_at = now() WHERE source_id = %(source)s
