-- Whether projects other than these use a pipeline: they have jobs of it, or a worker that serves it there was heard within
-- `days` and has a valid token.
SELECT EXISTS (
    SELECT 1 FROM jobs WHERE pipeline = %(slug)s AND project_id <> ALL (%(projects)s::bigint[])
) OR EXISTS (
    SELECT 1
    FROM project_pipelines r
    JOIN workers w USING (worker_id)
    JOIN tokens t USING (token_id)
    WHERE r.slug = %(slug)s AND r.project_id <> ALL (%(projects)s::bigint[])
      AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
      AND greatest(w.last_seen, t.last_used_at, r.registered_at) > now() - make_interval(days => %(days)s)
) AS held
