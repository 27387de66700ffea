UPDATE worker_starts SET ended_at = now(), error = %(error)s WHERE start_id = %(start)s AND ended_at IS NULL
