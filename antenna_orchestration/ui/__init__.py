"""The Dagster UI behind a guard: only its own pages, and programs, may use it."""
