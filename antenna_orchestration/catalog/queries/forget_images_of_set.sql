DELETE FROM capture_set_images WHERE set_id = %(set)s
