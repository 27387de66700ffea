UPDATE worker_starts SET handle = %(handle)s WHERE start_id = %(start)s
