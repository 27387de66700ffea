-- While files wait, others of their night may come: then the next look is no further off than they need to be at rest.
UPDATE sources s
SET looked_at = now(), failures = 0, error = %(error)s, listed_upto = NULL,
    next_look_at = now() + interval '1 s' * CASE WHEN EXISTS (
        SELECT 1 FROM source_files f WHERE f.source_id = s.source_id AND f.state IN ('waiting', 'read')
    ) THEN least(every_seconds, greatest(settle_seconds, %(least)s)) ELSE every_seconds END
WHERE source_id = ANY (%(sources)s::bigint[])
