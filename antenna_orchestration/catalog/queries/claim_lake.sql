-- A lake is marked.
UPDATE lake_mark SET claimed_at = coalesce(claimed_at, now())
