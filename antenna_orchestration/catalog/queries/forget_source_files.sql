-- Files that are gone before anything was done with them.
DELETE FROM source_files
WHERE source_id = %(source)s AND uri = ANY (%(uris)s::text[]) AND state IN ('waiting', 'left_out')
