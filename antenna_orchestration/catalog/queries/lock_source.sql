SELECT source_id FROM sources WHERE source_id = %(source)s FOR UPDATE
