"""PostgreSQL: the record of what was asked for and of every image's outcome.

Only this package runs SQL on the catalog. Dagster's database is read in `resources/dagster_history.py` and pooled in
`embedded/pooled_storage.py`; DuckDB reads the lake's files with SQL of its own.
"""
