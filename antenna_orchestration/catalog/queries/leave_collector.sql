-- The collector leaves in order, its job unfinished.
UPDATE collectors SET left_at = now() WHERE job_id = %(job)s AND generation = %(generation)s AND run_id = %(run_id)s
