-- Agree on the epoch: the first caller's stays.
UPDATE job_generations SET epoch = coalesce(epoch, %(epoch)s)
WHERE job_id = %(job)s AND generation = %(generation)s
RETURNING epoch
