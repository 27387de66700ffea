-- A capture is known by its URL and version within its project; what a later list adds to it is merged in, for jobs to
-- come. Its moment and its stamp belong together. The same stamp without a deployment says nothing new: the moment is
-- that of the capture's deployment, whose zone may be known.
INSERT INTO captures AS c (project_id, deployment_id, url, version, captured_at, stamp, stamp_offset)
SELECT %(project)s, d.deployment_id, s.url, s.version, s.captured_at, s.stamp, s.stamp_offset
FROM submitted s
LEFT JOIN deployments d ON d.project_id = %(project)s AND d.name = s.deployment
-- In the order of the URLs: two overlapping submissions then wait for each other, but cannot deadlock.
ORDER BY s.url, s.version
ON CONFLICT (project_id, url, version) DO UPDATE
SET deployment_id = coalesce(excluded.deployment_id, c.deployment_id),
    captured_at = CASE WHEN excluded.deployment_id IS NULL AND excluded.stamp = c.stamp
                            AND excluded.stamp_offset IS NOT DISTINCT FROM c.stamp_offset
                       THEN c.captured_at ELSE coalesce(excluded.captured_at, c.captured_at) END,
    stamp = CASE WHEN excluded.captured_at IS NULL THEN c.stamp ELSE excluded.stamp END,
    stamp_offset = CASE WHEN excluded.captured_at IS NULL THEN c.stamp_offset ELSE excluded.stamp_offset END
WHERE (coalesce(excluded.deployment_id, c.deployment_id), coalesce(excluded.captured_at, c.captured_at),
       CASE WHEN excluded.captured_at IS NULL THEN c.stamp ELSE excluded.stamp END,
       CASE WHEN excluded.captured_at IS NULL THEN c.stamp_offset ELSE excluded.stamp_offset END)
    IS DISTINCT FROM (c.deployment_id, c.captured_at, c.stamp, c.stamp_offset)
