-- Choose the photographs of a project, or of one of its capture sets, that the filters of a rule want, as stage 0; returns
-- how many there are, by why they are not chosen. The nights are those of domain/nights.py: from noon to noon by the local
-- time that ecology/places.py makes of the stamp with what is known of the deployment now, else by the rule's time zone.
WITH places AS MATERIALIZED (
    SELECT d.deployment_id, d.name, p.zone, p.east, p.clock, p.zone IS NOT NULL OR p.east IS NOT NULL AS has_zone,
           make_interval(secs => coalesce(p.shift, 0)) AS shift
    FROM deployments d
    LEFT JOIN jsonb_to_recordset(%(places)s) AS p (name text, zone text, east integer, clock text, shift bigint)
        USING (name)
    WHERE d.project_id = %(project)s
), base AS (
    SELECT c.* FROM captures c WHERE c.project_id = %(project)s AND %(of_set)s::bigint IS NULL
    UNION ALL
    SELECT c.* FROM capture_set_images i JOIN captures c USING (image_id)
    WHERE i.set_id = %(of_set)s::bigint AND c.project_id = %(project)s
), replaced AS (
    -- The bytes that a URL stood for before.
    SELECT url, max(image_id) AS newest FROM captures
    WHERE project_id = %(project)s AND %(loadable)s
    GROUP BY url HAVING count(*) > 1
), found AS (
    SELECT DISTINCT i.image_id FROM jobs j JOIN job_images i USING (job_id)
    WHERE j.project_id = %(project)s AND i.status = 'done' AND i.detections > 0 AND %(with_detections)s
      AND (%(with_detections_of)s::text IS NULL OR j.pipeline = %(with_detections_of)s)
), done AS (
    -- As in select_images.
    SELECT image_id FROM processed
    WHERE algorithm_id = ANY (%(algorithms)s::bigint[])
      AND (%(digest)s::text IS NULL OR digest_id = 0
           OR digest_id = (SELECT digest_id FROM digests WHERE digest = %(digest)s))
    GROUP BY image_id HAVING count(DISTINCT algorithm_id) = cardinality(%(algorithms)s::bigint[])
), timed AS (
    SELECT c.image_id, d.name AS deployment, c.url, c.version, CASE
        WHEN m.utc IS NOT NULL AND d.has_zone AND d.east IS NOT NULL THEN m.utc + make_interval(secs => d.east)
        WHEN m.utc IS NOT NULL AND d.has_zone THEN m.utc AT TIME ZONE 'UTC' AT TIME ZONE d.zone
        WHEN m.utc IS NOT NULL AND %(east)s::integer IS NOT NULL THEN m.utc + make_interval(secs => %(east)s::integer)
        WHEN m.utc IS NOT NULL THEN m.utc AT TIME ZONE 'UTC' AT TIME ZONE %(zone)s::text
        WHEN d.east IS NOT NULL THEN c.stamp + d.shift
        -- There and back: digits in the hour that summer time leaves out are of the one after it.
        ELSE (c.stamp + d.shift) AT TIME ZONE d.zone AT TIME ZONE d.zone END AS local_time
    FROM base c
    LEFT JOIN places d USING (deployment_id)
    -- The moment as a time in UTC; null where the digits are those of the zone.
    CROSS JOIN LATERAL (SELECT CASE
        WHEN c.stamp IS NULL THEN c.captured_at AT TIME ZONE 'UTC'
        WHEN c.stamp_offset IS NOT NULL
            THEN c.stamp + coalesce(d.shift, interval '0') - make_interval(mins => c.stamp_offset)
        WHEN d.clock = 'utc' OR d.has_zone IS NOT TRUE THEN c.stamp + coalesce(d.shift, interval '0')
        END AS utc) m
    -- So that the time is computed once.
    OFFSET 0
), at_night AS (
    SELECT *, CASE WHEN local_time IS NOT NULL
        THEN (greatest(local_time, timestamp '0001-01-01 12:00') - interval '12 hours')::date END AS night
    FROM timed
), seen AS MATERIALIZED (
    SELECT c.image_id, c.deployment, c.url, c.version, c.local_time, c.night,
           CASE WHEN c.image_id < r.newest THEN 'replaced'
                WHEN %(deployments)s::text[] IS NOT NULL AND (c.deployment = ANY (%(deployments)s::text[])) IS NOT TRUE
                    THEN 'other_deployment'
                WHEN %(needs_time)s AND c.local_time IS NULL THEN 'no_time'
                WHEN c.night < %(first)s::date OR c.night > %(last)s::date THEN 'other_night'
                WHEN %(with_detections)s AND f.image_id IS NULL THEN 'no_detections'
                WHEN p.image_id IS NOT NULL THEN 'processed' END AS why
    FROM at_night c
    LEFT JOIN replaced r ON r.url = c.url
    LEFT JOIN found f ON f.image_id = c.image_id
    LEFT JOIN done p ON p.image_id = c.image_id
), kept AS (
    INSERT INTO chosen SELECT 0, image_id, deployment, url, version, local_time, night FROM seen WHERE why IS NULL
)
SELECT why, count(*) AS photographs FROM seen GROUP BY why
