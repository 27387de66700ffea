-- Let a deployment have the captures of another one of which nothing is known but these: no place, no list, no shift, no
-- job. Such a one is made by submitting again, under another name, what was processed before. It is gone then.
WITH bare AS (
    SELECT b.deployment_id, o.deployment_id AS into_id
    FROM deployments b JOIN deployments o ON o.project_id = b.project_id AND o.name = %(old)s
    WHERE b.project_id = %(project)s AND b.name = %(new)s AND b.name <> o.name
      AND b.described_at IS NULL AND b.species_list IS NULL AND b.former_names = '[]'
      AND NOT EXISTS (SELECT 1 FROM sources w WHERE w.deployment_id = b.deployment_id)
      AND NOT EXISTS (SELECT 1 FROM clock_shifts s WHERE s.deployment_id = b.deployment_id)
      AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.project_id = b.project_id AND b.deployment_id = ANY (j.deployments))
), moved AS (
    UPDATE captures c SET deployment_id = bare.into_id FROM bare
    WHERE c.project_id = %(project)s AND c.deployment_id = bare.deployment_id
)
DELETE FROM deployments d USING bare WHERE d.deployment_id = bare.deployment_id
