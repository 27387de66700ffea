-- A capture is known by its URL and version within its project; what a later list adds to it is merged in, for jobs to
-- come.
INSERT INTO captures (project_id, deployment_id, url, version, captured_at)
SELECT %(project)s, d.deployment_id, s.url, s.version, s.captured_at
FROM submitted s
LEFT JOIN deployments d ON d.project_id = %(project)s AND d.name = s.deployment
-- In the order of the URLs: two overlapping submissions then wait for each other, but cannot deadlock.
ORDER BY s.url, s.version
ON CONFLICT (project_id, url, version) DO UPDATE
SET deployment_id = coalesce(excluded.deployment_id, captures.deployment_id),
    captured_at = coalesce(excluded.captured_at, captures.captured_at)
WHERE (coalesce(excluded.deployment_id, captures.deployment_id), coalesce(excluded.captured_at, captures.captured_at))
    IS DISTINCT FROM (captures.deployment_id, captures.captured_at)
