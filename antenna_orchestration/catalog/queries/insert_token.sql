-- A token and its projects; the projects exist already.
WITH made AS (
    INSERT INTO tokens (sha256, fingerprint, role, label, expires_at, created_by)
    VALUES (%(sha256)s, %(fingerprint)s, %(role)s, %(label)s, %(expires_at)s, %(by)s)
    RETURNING token_id
), scope AS (
    INSERT INTO token_projects (token_id, project_id)
    SELECT made.token_id, p.project_id FROM made, projects p WHERE p.slug = ANY (%(projects)s)
)
SELECT token_id FROM made
