-- Of each deployment and night the first photograph, and each nth after it.
INSERT INTO chosen
SELECT stage + 1, image_id, deployment, url, version, local_time, night
FROM (
    SELECT *, row_number() OVER (PARTITION BY night, deployment ORDER BY local_time, url, version) AS place
    FROM chosen WHERE stage = %(stage)s
) s
WHERE (place - 1) %% %(number)s::integer = 0
