-- Of each deployment and night the first photograph in each interval since noon.
INSERT INTO chosen
SELECT stage + 1, image_id, deployment, url, version, local_time, night
FROM (
    SELECT *, row_number() OVER (
        -- What begins in one night begins in no other. The time comes first, as it sorts faster than a name.
        PARTITION BY date_bin(make_interval(secs => %(number)s::integer), local_time, night + time '12:00'), deployment
        ORDER BY local_time, url, version
    ) AS place
    FROM chosen WHERE stage = %(stage)s
) s
WHERE place = 1
