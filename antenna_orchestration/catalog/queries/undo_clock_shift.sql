-- The newest that holds.
UPDATE clock_shifts SET undone_by = %(by)s, undone_at = now()
WHERE shift_id = (
    SELECT s.shift_id FROM clock_shifts s JOIN deployments d USING (deployment_id)
    WHERE d.project_id = %(project)s AND d.name = %(name)s AND s.undone_at IS NULL
    ORDER BY s.shift_id DESC LIMIT 1
    FOR UPDATE OF s
)
RETURNING seconds
