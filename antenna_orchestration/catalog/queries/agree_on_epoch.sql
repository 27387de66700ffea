-- Agree on the epoch: the one that the first caller proposes stays.
UPDATE job_generations SET epoch = coalesce(epoch, %(epoch)s)
WHERE job_id = %(job)s AND generation = %(generation)s
RETURNING epoch
