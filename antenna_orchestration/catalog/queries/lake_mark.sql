-- What the catalog's lake is marked with.
SELECT mark::text FROM lake_mark
