"""The sensor that starts a worker on this machine when jobs wait and no worker serves them.

It never stops one: workers end by themselves when idle. For a cluster or a GPU host, start workers there and set
`ANTENNA_AUTOSCALE=0`.
"""

import socket
import uuid
from collections.abc import Container

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import reach
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.pipelines import registry, torch_installed
from antenna_orchestration.processing import served_here
from antenna_orchestration.processing.health import MANY
from antenna_orchestration.processing.served_here import is_for_workers_here
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import run_states
from antenna_orchestration.resources.stores import Stores

_ON_THEIR_WAY = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)


@dg.sensor(
    job=inference_worker,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run of inference_worker on this machine while a job waits for a pipeline that no worker "
    "serves; off with ANTENNA_AUTOSCALE=0. Workers end by themselves when idle.",
)
def worker_autoscaler(context: dg.SensorEvaluationContext, stores: Stores) -> dg.RunRequest | dg.SkipReason:
    """Request a worker run while jobs wait for a pipeline that no worker serves."""
    settings = stores.settings
    if not settings.autoscale or settings.autoscale_max_workers < 1:
        return dg.SkipReason("ANTENNA_AUTOSCALE is off")
    try:
        unserved, unfit, workers = stores.call(_unserved_pipelines)
    except errors.Unavailable as error:
        return dg.SkipReason(f"a server does not answer: {error}")
    if not unserved:
        return dg.SkipReason(unfit or "nothing waits without a worker")
    if reason := torch_installed.without():
        return dg.SkipReason(f"jobs wait for a worker that serves {', '.join(sorted(unserved))}: {reason}")
    runs = _count_runs(context.instance, {worker.run_id for worker in workers})
    if runs >= settings.autoscale_max_workers:
        return dg.SkipReason(f"{runs} worker runs are there or on their way")
    config = {"ops": {"work": {"config": {"exit_when_idle": settings.worker_idle_exit}}}}
    return dg.RunRequest(run_key=uuid.uuid4().hex, run_config=config)


def _count_runs(instance: dg.DagsterInstance, heard: Container[str | None]) -> int:
    """The worker runs of this location that are heard, were started less than a minute ago, or will be started.

    A worker elsewhere that could serve the jobs would be heard.
    """
    wanted = dg.RunsFilter(job_name=inference_worker.name, statuses=[*_ON_THEIR_WAY, dg.DagsterRunStatus.STARTED])
    records = [record for record in instance.get_run_records(wanted) if not run_states.is_elsewhere(record.dagster_run)]
    return sum(
        record.dagster_run.status in _ON_THEIR_WAY
        or record.dagster_run.run_id in heard
        or run_states.age(record) < run_states.START_GRACE
        for record in records
    )


async def _unserved_pipelines(services: Services) -> tuple[set[PipelineSlug], str, list[Heartbeat]]:
    """Pipelines of active jobs that no living worker can serve and a new one would, and the workers that are heard.

    Between the two: why a new one would leave one of the other jobs alone.
    """
    ours = registry.all_pipelines(services.settings.pipeline_paths)
    active = await services.catalog.jobs.list(statuses=ACTIVE, limit=MANY)
    jobs = [job for job in active if is_for_workers_here(job, ours)]
    if not jobs:
        return set(), "", []
    workers = await services.heartbeats.workers()
    # A pipeline that a worker here failed to load would fail to load in another worker on this machine, too.
    failing = {slug for worker in workers if worker.host == socket.gethostname() for slug in worker.failing}
    unserved = [job for job in jobs if not reach.some_serve(workers, job)]
    unfit = await served_here.why_not(services, unserved)
    reason = "; ".join(f"a worker here would leave job {job} alone: {why}" for job, why in [*unfit.items()][:1])
    wanted = {job.pipeline for job in unserved if job.pipeline not in failing and job.job_id not in unfit}
    return wanted, reason, workers
