-- What the catalog's lake is marked with, and whether any was.
SELECT mark::text AS mark, claimed_at IS NOT NULL AS is_claimed FROM lake_mark
