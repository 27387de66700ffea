-- The collector stops in order before its job is finished.
UPDATE collectors SET left_at = now(), awaits_results = %(awaits_results)s
WHERE job_id = %(job)s AND generation = %(generation)s AND run_id = %(run_id)s
