SELECT image_id FROM capture_set_images WHERE set_id = %(set)s ORDER BY ordinal
