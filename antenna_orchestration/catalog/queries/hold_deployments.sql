-- The deployments that are named keep their names until the transaction ends; returns the names that there are not.
WITH held AS MATERIALIZED (
    SELECT name FROM deployments
    WHERE project_id = %(project)s AND name IN (SELECT deployment FROM submitted)
    ORDER BY name
    FOR KEY SHARE
)
SELECT deployment AS name FROM submitted WHERE deployment IS NOT NULL
EXCEPT
SELECT name FROM held
ORDER BY name
