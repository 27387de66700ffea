-- What is known of the project's deployments, with the sum of the shifts that hold.
SELECT d.deployment_id, d.name, d.latitude, d.longitude, d.uncertainty_m, d.time_zone, d.clock, d.starts_at, d.ends_at,
       d.location_name, d.country_code, d.pixels_per_mm, d.species_list, d.further,
       coalesce((SELECT sum(s.seconds) FROM clock_shifts s
                 WHERE s.deployment_id = d.deployment_id AND s.undone_at IS NULL), 0)::bigint AS shift_seconds
FROM deployments d
WHERE d.project_id = %(project)s
ORDER BY d.name
