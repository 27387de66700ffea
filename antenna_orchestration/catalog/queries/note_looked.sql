-- While files wait, others of their night may come: then the next look is no further off than they need to be at rest.
UPDATE sources s
SET looked_at = now(), failures = 0, error = %(error)s, listed_upto = NULL,
    next_look_at = CASE WHEN EXISTS (
        SELECT 1 FROM source_files f WHERE f.source_id = s.source_id AND f.state IN ('waiting', 'read')
    ) THEN least(looks.regular, now() + greatest(s.settle_seconds, %(least)s) * interval '1 s') ELSE looks.regular END
FROM (
    SELECT o.source_id, coalesce(told.next_look, now() + o.every_seconds * interval '1 s') AS regular
    FROM unnest(%(sources)s::bigint[], %(next_looks)s::timestamptz[]) AS told (source_id, next_look)
    JOIN sources o ON o.source_id = told.source_id
) looks
WHERE s.source_id = looks.source_id
