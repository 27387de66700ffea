-- A token that is valid now, with its projects.
SELECT t.token_id, t.fingerprint, t.role, t.label, t.created_at, t.expires_at, t.revoked_at, t.last_used_at,
       t.created_by, t.revoked_by,
       coalesce(jsonb_object_agg(p.project_id, p.slug) FILTER (WHERE p.project_id IS NOT NULL), '{}') AS projects
FROM tokens t
LEFT JOIN token_projects s USING (token_id)
LEFT JOIN projects p USING (project_id)
WHERE t.sha256 = %(sha256)s AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
GROUP BY t.token_id
