UPDATE source_files f SET state = 'duplicate'
FROM source_photographs p
WHERE f.source_id = %(source)s AND f.state = 'read'
  AND p.source_id = f.source_id AND p.content = f.content
