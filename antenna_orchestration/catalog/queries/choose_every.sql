-- Of each deployment and night the first photograph in each interval since noon.
INSERT INTO chosen
SELECT stage + 1, image_id, deployment, url, version, local_time, night
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY deployment, night,
                     floor(extract(epoch FROM local_time - (night + time '12:00')) / %(number)s::integer)
        ORDER BY local_time, url, version
    ) AS place
    FROM chosen WHERE stage = %(stage)s
) s
WHERE place = 1
