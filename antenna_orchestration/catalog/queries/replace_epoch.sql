-- The queue lost the consumer: a new life begins, unless somebody else has begun one.
UPDATE job_generations SET epoch = %(epoch)s
WHERE job_id = %(job)s AND generation = %(generation)s AND epoch = %(lost)s
RETURNING epoch
