-- For the rest of the transaction, read in the order of an index and never sort. The planner has no statistics about a job
-- that was just submitted; it would take the job for small, and sort all its images for each chunk that is read.
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)
