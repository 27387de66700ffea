"""Dagster's floor: a code location with as many sensors as ours, which do nothing, and a job of one empty asset.

Its sensor `queued_jobs` requests as many runs of that job as the file `wanted` in DAGSTER_HOME says, once. What such a
stack costs, no code location of ours can be below. `bare_assets` has a job with all assets of ours.
"""

import os
from pathlib import Path

import dagster as dg

from antenna_orchestration.domain import run_tags as tags

INTERVALS = {
    "worker_autoscaler": 5,
    "lost_runs": 10,
    "health_watch": 15,
    "new_captures": 15,
    "season_nights": 60,
    "alerts": 30,
}
"""Seconds, of our sensors that are here without their work."""

jobs = dg.DynamicPartitionsDefinition(name="processing_jobs")


@dg.asset(partitions_def=jobs)
def nothing() -> None:
    """The least that a run can do."""


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.CANCELED,
    monitor_all_code_locations=True,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def job_run_status(context: dg.RunStatusSensorContext) -> None:
    """As ours: asks Dagster for canceled runs."""


def _idle(name: str, seconds: int) -> dg.SensorDefinition:
    @dg.sensor(name=name, minimum_interval_seconds=seconds, default_status=dg.DefaultSensorStatus.RUNNING)
    def idle() -> dg.SkipReason:
        return dg.SkipReason("nothing")

    return idle


def definitions(*assets: dg.AssetsDefinition) -> dg.Definitions:
    """A code location whose `process_job` materializes these."""
    process_job = dg.define_asset_job("process_job", selection=list(assets))

    @dg.sensor(job=process_job, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
    def queued_jobs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """The runs that are wanted."""
        file = Path(os.environ["DAGSTER_HOME"]) / "wanted"
        if not file.exists():
            return dg.SkipReason("none wanted")
        keys = [f"job-{number}" for number in range(int(file.read_text()))]
        file.unlink()
        role = {tags.ROLE: tags.COLLECTOR_SMALL}
        return dg.SensorResult(
            dynamic_partitions_requests=[jobs.build_add_request(keys)],
            run_requests=[dg.RunRequest(run_key=key, partition_key=key, tags=role) for key in keys],
        )

    return dg.Definitions(
        assets=assets,
        jobs=[process_job],
        sensors=[queued_jobs, job_run_status, *(_idle(name, seconds) for name, seconds in INTERVALS.items())],
        executor=dg.in_process_executor,
    )


defs = definitions(nothing)
