-- In the order of the names, so that two imports wait for each other and cannot deadlock.
INSERT INTO deployments (project_id, name, latitude, longitude, uncertainty_m, time_zone, clock, starts_at, ends_at,
                         location_name, country_code, pixels_per_mm, further, described_at)
SELECT %(project)s::bigint, p.name, p.latitude, p.longitude, p.uncertainty_m, p.time_zone, p.clock, p.starts_at,
       p.ends_at, p.location_name, p.country_code, p.pixels_per_mm, p.further, now()
FROM jsonb_to_recordset(%(places)s) AS p (
    name text, latitude double precision, longitude double precision, uncertainty_m double precision, time_zone text,
    clock text, starts_at timestamp, ends_at timestamp, location_name text, country_code text,
    pixels_per_mm double precision, further jsonb
)
ORDER BY p.name
ON CONFLICT (project_id, name) DO UPDATE
SET latitude = excluded.latitude, longitude = excluded.longitude, uncertainty_m = excluded.uncertainty_m,
    time_zone = excluded.time_zone, clock = excluded.clock, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
    location_name = excluded.location_name, country_code = excluded.country_code,
    pixels_per_mm = excluded.pixels_per_mm, further = excluded.further, described_at = excluded.described_at
