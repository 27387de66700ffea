"""PostgreSQL: the record of the jobs that were asked for and of every image's outcome. Only this package runs SQL."""
