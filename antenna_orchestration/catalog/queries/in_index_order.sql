-- For the rest of the transaction: read in the order of an index and never sort. The planner's statistics know nothing of a
-- job that was just submitted; taking it for small, they would have all its images sorted for each chunk that is read.
SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)
