-- Make a set, or the list of one anew, if that is wanted; no row if the name is taken.
INSERT INTO capture_sets AS s (project_id, name, rule, photographs, not_chosen, created_by)
VALUES (%(project)s, %(name)s, %(rule)s, %(photographs)s, %(not_chosen)s, %(created_by)s)
ON CONFLICT (project_id, name) DO UPDATE
SET rule = excluded.rule, photographs = excluded.photographs, not_chosen = excluded.not_chosen,
    created_by = excluded.created_by, made_at = now()
WHERE %(replace)s
RETURNING set_id
