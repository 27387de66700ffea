SELECT url FROM captures WHERE image_id = %(image)s
