-- So many photographs, drawn as in choose_per_night.
INSERT INTO chosen
SELECT stage + 1, image_id, deployment, url, version, local_time, night
FROM chosen WHERE stage = %(stage)s
ORDER BY sha256(convert_to(concat_ws(' ', %(seed)s::bigint, url, version), 'UTF8')), image_id
LIMIT %(number)s::integer
