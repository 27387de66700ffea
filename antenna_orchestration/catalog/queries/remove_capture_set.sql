-- The set and its list; no row if there is none.
WITH gone AS (
    DELETE FROM capture_sets s USING projects p
    WHERE p.project_id = s.project_id AND p.slug = %(project)s AND s.name = %(name)s
    RETURNING s.set_id
), list AS (
    DELETE FROM capture_set_images i USING gone g WHERE i.set_id = g.set_id
)
SELECT set_id FROM gone
