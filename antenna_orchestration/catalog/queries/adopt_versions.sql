-- Captures of an unknown version are what is submitted now, unless that was changed after the capture was recorded.
-- Versions of local files say when that was (see domain/versions.py); for all others it is submitted.
-- Locked in the order of the URLs, as in ensure_captures.
WITH adopted AS (
    SELECT c.image_id, s.version
    FROM submitted s
    JOIN captures c ON c.project_id = %(project)s AND c.url = s.url AND c.version = ''
    CROSS JOIN LATERAL (SELECT CASE WHEN s.url LIKE 'file:%%'
        THEN to_timestamp(substring(s.version FROM '^[0-9]+-(-?[0-9]+)$')::numeric / 1000000000)
        ELSE s.modified_at END AS modified_at) m
    WHERE s.version <> '' AND (m.modified_at IS NULL OR m.modified_at <= c.created_at)
      AND NOT EXISTS (SELECT 1 FROM captures k
                      WHERE k.project_id = %(project)s AND k.url = s.url AND k.version = s.version)
    ORDER BY c.url
    FOR UPDATE OF c
)
UPDATE captures c SET version = a.version FROM adopted a WHERE c.image_id = a.image_id
