"""What the system does, one verb or subject a module; a verb is handed the stores as `Services`.

Commands, Dagster's definitions and the gateway's routes are thin callers of what is here. The groups, with their most
important modules:

- a job's life: `submit`, `bound`, `publish`, `collect`, `reconcile`, `finish`, `cancel`, `retry`, `delete`;
- the care for all jobs and their workers: `health`, `lake_leftovers`, `disk_space`, `run_heartbeat`, `scale`;
- what people look at: `image_life`, `open_reports`, `waiting`, `usage`, `samples`;
- photographs that are watched for or known: `watched_sources`, `new_captures`, `capture_sets`, `preview`;
- what people say of a project: `deployments`, `names`, `reviews`, `recipes`, `datasets`, read together by `knowledge`;
- tables and files after inference: `derive`, `merge`, `season`, `report`, `export`, `agreement`;
- what an installation needs: `alerts`, `backup`, `tokens`, `pushed` and `pulled` pipelines.

Not here: what only one caller needs, and rules without any store, which are in `domain/` and `ecology/`.
"""
