-- Give the digests of a job's generations numbers, for the ledger.
INSERT INTO digests (digest)
SELECT DISTINCT digest FROM job_generations WHERE job_id = %(job)s AND digest IS NOT NULL
EXCEPT SELECT digest FROM digests
ON CONFLICT DO NOTHING
