UPDATE sources SET etag = %(etag)s, last_modified = %(last_modified)s
WHERE source_id = %(source)s
