"""A job's life, one verb or subject a module; a verb is handed the stores as `Services`.

Commands, Dagster's definitions and the gateway's routes are thin callers of what is here. The groups, with their most
important modules:

- a job's life: `submit`, `bound`, `publish`, `collect`, `reconcile`, `finish`, `cancel`, `retry`;
- whoever works on it: `run_heartbeat`, `scale`, `served_here`, `pushed` and `pulled` pipelines;
- what people look at while it runs: `job_log`, `waiting`, `image_life`, `open_reports`, `samples`, `report`;
- photographs that are watched for or known: `watched_sources`, `new_captures`, `capture_sets`, `preview`;
- the stores: `services`, `lake_mark`, `lake_watch`, `retrying`.

What people take home is in `answers/`, and what keeps an installation well in `upkeep/`; both build on this. Not here:
what only one caller needs, and rules without any store, which are in `domain/` and `ecology/`.
"""
