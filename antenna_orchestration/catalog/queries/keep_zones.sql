-- The digits of a name say nothing new of a photograph whose file was opened before, and said them with their zone.
UPDATE submitted s
SET captured_at = c.captured_at, stamp = c.stamp, stamp_offset = c.stamp_offset
FROM captures c
LEFT JOIN deployments d ON d.deployment_id = c.deployment_id
WHERE s.is_of_name AND c.project_id = %(project)s AND c.url = s.url AND c.version = s.version
  AND c.stamp_offset IS NOT NULL AND date_trunc('second', c.stamp) = date_trunc('second', s.stamp)
  AND (s.deployment IS NULL OR s.deployment = d.name)
