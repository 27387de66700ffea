-- Captures of an unknown version are what is submitted now, unless that was changed after the capture was recorded.
-- Locked in the order of the URLs, as in ensure_captures.
WITH adopted AS (
    SELECT c.image_id, s.version
    FROM submitted s
    JOIN captures c ON c.project_id = %(project)s AND c.url = s.url AND c.version = ''
    WHERE s.version <> '' AND (s.modified_at IS NULL OR s.modified_at <= c.created_at)
      AND NOT EXISTS (SELECT 1 FROM captures k
                      WHERE k.project_id = %(project)s AND k.url = s.url AND k.version = s.version)
    ORDER BY c.url
    FOR UPDATE OF c
)
UPDATE captures c SET version = a.version FROM adopted a WHERE c.image_id = a.image_id
