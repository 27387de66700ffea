-- Of each deployment and night so many photographs, drawn by the seed and by what they are: neither their order nor the
-- other photographs matter.
INSERT INTO chosen
SELECT stage + 1, image_id, deployment, url, version, local_time, night
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY night, deployment
        ORDER BY sha256(convert_to(concat_ws(' ', %(seed)s::bigint, url, version), 'UTF8')), image_id
    ) AS place
    FROM chosen WHERE stage = %(stage)s
) s
WHERE place <= %(number)s::integer
