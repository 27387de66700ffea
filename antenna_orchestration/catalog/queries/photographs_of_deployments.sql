-- How many photographs each deployment of the project has, and between which times.
SELECT d.name, count(*) AS photographs, min(c.captured_at) AS first, max(c.captured_at) AS last
FROM captures c JOIN deployments d USING (deployment_id)
WHERE c.project_id = %(project)s
GROUP BY d.name
