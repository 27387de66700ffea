-- Those of these folders (which end with a slash) below which files are still to be read.
SELECT folder FROM unnest(%(folders)s::text[]) AS wanted (folder)
WHERE EXISTS (SELECT 1 FROM source_files f
              WHERE f.source_id = %(source)s AND f.state = 'waiting'
                -- In the collation of bytes, 0 follows the slash.
                AND f.uri >= folder AND f.uri < left(folder, -1) || '0')
