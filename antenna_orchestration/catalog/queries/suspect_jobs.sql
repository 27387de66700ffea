-- Jobs that nobody seems to work on: claimed long ago and not started, or running with a silent collector. Only Dagster
-- knows whether a run of theirs is alive. With `awaiting` also those whose collector left until there is a result.
SELECT j.*, p.slug AS project, g.epoch, coalesce(g.published_upto, 0) AS published_upto,
       g.compacted_at IS NOT NULL AS compacted
FROM jobs j
JOIN projects p USING (project_id)
LEFT JOIN job_generations g USING (job_id, generation)
LEFT JOIN collectors c USING (job_id, generation)
WHERE ((j.status = 'CLAIMED' AND j.claimed_at < now() - make_interval(secs => %(claimed_for)s))
    OR (j.status = 'RUNNING' AND (%(awaiting)s OR NOT coalesce(c.awaits_results AND c.run_id = j.run_id, false))
        AND (c.left_at IS NOT NULL OR c.job_id IS NULL
        OR greatest(c.heartbeat_at, j.claimed_at) < now() - make_interval(secs => %(silent_for)s))))
  AND (%(job)s::bigint IS NULL OR j.job_id = %(job)s)
-- Dead collectors first: there may be many claimed jobs, and many launched again, which rightly wait in Dagster's queue.
ORDER BY j.status DESC, j.run_id IS NULL, j.job_id
LIMIT %(limit)s
