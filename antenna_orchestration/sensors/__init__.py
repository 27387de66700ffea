"""What watches, one sensor a module: each asks its stores what is due and calls a function of `processing/`.

Jobs and runs: `queued_jobs` launches a run for each job, `job_run_status` cancels jobs whose run a person terminated,
`lost_runs` ends runs whose process is gone. Workers: `worker_autoscaler`. Photographs and seasons: `new_captures`,
`season_nights`. What is wrong: `health_watch`, `alerts`.
"""
