-- The queue lost the consumer: replace its epoch, unless another caller has replaced it already.
UPDATE job_generations SET epoch = %(epoch)s
WHERE job_id = %(job)s AND generation = %(generation)s AND epoch = %(lost)s
RETURNING epoch
