-- The chosen photographs as the list of a set, by deployment and time.
INSERT INTO capture_set_images (set_id, ordinal, image_id)
SELECT %(set)s, row_number() OVER (ORDER BY deployment NULLS LAST, local_time NULLS LAST, url, version), image_id
FROM chosen WHERE stage = %(stage)s
