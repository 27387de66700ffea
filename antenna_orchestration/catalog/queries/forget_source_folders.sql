DELETE FROM source_folders WHERE source_id = %(source)s AND real_uri = ANY (%(real_uris)s::text[])
