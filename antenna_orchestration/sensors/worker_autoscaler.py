"""The sensor that starts a worker on this machine when work waits and nobody listens.

It never stops one: workers leave by themselves when idle. For a cluster or a GPU host start workers there instead and
set `ANTENNA_AUTOSCALE=0`.
"""

import uuid

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import reach
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.processing.health import MANY
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.stack import Stack

_THERE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dg.sensor(job=inference_worker, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def worker_autoscaler(context: dg.SensorEvaluationContext, stack: Stack) -> dg.RunRequest | dg.SkipReason:
    """Request a worker run while jobs wait for a pipeline that no worker serves."""
    wanted = stack.settings
    if not wanted.autoscale or wanted.autoscale_max_workers < 1:
        return dg.SkipReason("ANTENNA_AUTOSCALE is off")
    try:
        unserved = stack.call(_unserved_pipelines)
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server is away: {error}")
    if not unserved:
        return dg.SkipReason("nothing waits without a worker")
    runs = context.instance.get_runs_count(dg.RunsFilter(job_name=inference_worker.name, statuses=_THERE))
    if runs >= wanted.autoscale_max_workers:
        return dg.SkipReason(f"{runs} worker runs are there or on their way")
    config = {"ops": {"work": {"config": {"exit_when_idle": wanted.worker_idle_exit}}}}
    return dg.RunRequest(run_key=uuid.uuid4().hex, run_config=config)


async def _unserved_pipelines(services: Services) -> set[str]:
    """Pipelines of active jobs whose images no living worker both serves and reaches."""
    jobs = [job for job in await services.catalog.list_jobs(statuses=ACTIVE, limit=MANY) if job.total]
    if not jobs:
        return set()
    workers = await services.presence.workers()
    # Another worker on this machine would fail to load what this one fails to load.
    return {
        job.pipeline
        for job in jobs
        if not any(reach.can_serve(worker, job) or job.pipeline in worker.failing for worker in workers)
    }
