"""PostgreSQL: the record of what was asked for and what became of it. The only place that speaks SQL."""
