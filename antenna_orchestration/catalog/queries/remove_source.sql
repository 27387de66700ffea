WITH files AS (DELETE FROM source_files WHERE source_id = %(source)s),
     photographs AS (DELETE FROM source_photographs WHERE source_id = %(source)s),
     counts AS (DELETE FROM source_counts WHERE source_id = %(source)s),
     jobs AS (DELETE FROM source_jobs WHERE source_id = %(source)s)
DELETE FROM sources WHERE source_id = %(source)s RETURNING source_id
