"""The sensor that ends worker runs whose host is gone.

Dagster learns from the code server that a run's process has died. If the code server is gone as well, for example
because a GPU host lost power, the run stays STARTED for ever and occupies one of the run queue's slots for workers. Its
tasks went back to the queue when their leases ended; only the run is left to be ended.
"""

import json
import time
from collections.abc import Collection, Mapping
from typing import Final

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.resources.stores import Stores

GRACE: Final = 120.0
"""Seconds from a run's start within which its worker's first heartbeat is expected."""

SILENT_FOR: Final = 45.0
"""Seconds for which a worker has to be seen silent. Its last heartbeat is valid for 30 s before that."""


@dg.sensor(minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def lost_worker_runs(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult | dg.SkipReason:
    """End runs of `inference_worker` in other code locations whose worker is silent.

    A worker that is alive, but without a connection to NATS, notices that its run is over, and ends.
    """
    now = time.time()
    wanted = dg.RunsFilter(job_name=inference_worker.name, statuses=[dg.DagsterRunStatus.STARTED])
    records = context.instance.get_run_records(wanted)
    begun = {
        record.dagster_run.run_id: record.start_time or now for record in records if is_elsewhere(record.dagster_run)
    }
    if not begun:
        return dg.SensorResult(cursor="{}", skip_reason="no run of a worker in another code location")
    try:
        heard = {worker.run_id for worker in stores.call(lambda services: services.heartbeats.workers())}
    except errors.Unavailable as error:
        return dg.SkipReason(f"the workers cannot be listed: {error}")
    silent = silent_since(begun, heard, json.loads(context.cursor or "{}"), now)
    lost = [run for run, since in silent.items() if now - since >= SILENT_FOR]
    for record in records:
        run = record.dagster_run
        if run.run_id in lost:
            context.instance.report_run_failed(run, "its worker is silent: the host, or its code server, is gone")
            context.log.warning(f"run {run.run_id} is ended: its worker is silent")
    return dg.SensorResult(cursor=json.dumps(silent), skip_reason=f"{len(begun)} runs, {len(lost)} of them lost")


def is_elsewhere(run: dg.DagsterRun) -> bool:
    """Whether another code location than ours started the run; `dagster job execute` starts runs without one."""
    return run.remote_job_origin is not None and run.remote_job_origin.location_name != tags.LOCATION


def silent_since(
    begun: Mapping[str, float], heard: Collection[str | None], before: Mapping[str, float], now: float
) -> dict[str, float]:
    """Since when each run has been silent; times are in seconds since the epoch."""
    return {run: before.get(run, now) for run, start in begun.items() if run not in heard and now - start >= GRACE}
