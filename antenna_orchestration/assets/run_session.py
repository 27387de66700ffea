"""How a run takes a job up, and how it lets go of one that it does not finish.

Belongs here: the rules between a Dagster run and its job that every asset of `process_job` needs. What happens to the
job itself is in `processing/`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import cancel, collect, retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports, run_interruptible, was_terminated
from antenna_orchestration.resources.stores import Stores

T = TypeVar("T")

INTERRUPTED = dg.DagsterExecutionInterruptedError

_generations: dict[str, ids.Generation] = {}
"""The generation that a run serves; all assets of a run are executed in one process."""


def run_for_job(
    context: dg.AssetExecutionContext, stores: Stores, work: Callable[[Services, Job, Reports], Awaitable[T]]
) -> T:
    """Do an asset's work on the job of the run's partition, with the job's heartbeat around it.

    The job is claimed if nobody has (a person launched the run), and started. When a person terminates the run, the job
    is canceled; when the stores stops or the process is told to end, it stays as it is and is launched again.
    """
    job_id = ids.job_of_partition(context.partition_key)

    async def main(reports: Reports) -> T:
        async def act(services: Services) -> T:
            async with _taken(services, context, job_id) as job:
                return await work(services, job, reports)

        return await stores.use(act)

    try:
        return run_interruptible(context, main)
    except collect.JobLeft as left:
        _end_as_canceled(context, str(left))
        raise INTERRUPTED from None
    except INTERRUPTED:
        _let_go(context, stores, job_id, by_a_person=was_terminated(context) and not stores.is_stopping)
        raise
    except errors.AntennaError as error:
        if isinstance(error, errors.Unavailable):
            # A store's absence is not the job's fault: this launch does not count as one that died.
            _let_go(context, stores, job_id, by_a_person=False)
        raise dg.Failure(description=str(error), allow_retries=False) from error


@asynccontextmanager
async def _taken(services: Services, context: dg.AssetExecutionContext, job_id: ids.JobId) -> AsyncIterator[Job]:
    """The job, started by this run and kept alive by its heartbeat; a job that is over is given as it is.

    A run serves one generation from its first asset to its last: canceled and retried meanwhile, the job is another
    run's. A run that a person launches, or re-executes, opens a canceled job's next generation.
    """
    run = context.run
    bound = _generations.get(run.run_id)
    job = await services.catalog.jobs.get(job_id)
    if bound is None:
        by_a_person = run.parent_run_id is not None or tags.LAUNCH not in run.tags
        if job.status is JobStatus.CANCELED and by_a_person:
            await retry.retry(services, job_id)
            job = await services.catalog.jobs.get(job_id)
        bound = job.generation if by_a_person else ids.Generation(int(run.tags[tags.GENERATION]))
        _generations[run.run_id] = bound
    if job.generation != bound:
        raise collect.JobLeft(f"job {job_id} is in generation {job.generation}, this run was for {bound}")
    if job.status is JobStatus.QUEUED:
        await services.catalog.jobs.claim(1, job_id=job_id)
        job = await services.catalog.jobs.get(job_id)
    if job.status in (JobStatus.SUCCESS, JobStatus.FAILURE):
        yield job
        return
    if not await services.catalog.jobs.start(ids.JobRun(job_id, bound), run.run_id):
        raise collect.JobLeft(f"job {job_id} is {job.status}")
    job = await services.catalog.jobs.get(job_id)
    async with collect.heartbeat(services, job, run_id=run.run_id):
        yield job


def _let_go(context: dg.AssetExecutionContext, stores: Stores, job_id: ids.JobId, *, by_a_person: bool) -> None:
    """After an interruption: cancel the job if a person terminated the run, else only say that the collector left."""

    async def act(services: Services) -> None:
        job = await services.catalog.jobs.get(job_id)
        if by_a_person and job.generation == _generations.get(context.run.run_id):
            await cancel.cancel(services, job_id, reason="the run was terminated")
        else:
            await services.catalog.collectors.leave(job.job_run, run_id=context.run.run_id)

    def body() -> None:
        try:
            asyncio.run(stores.use(act))
        except errors.AntennaError as error:
            # The sensors cancel, and re-launch after the heartbeat's silence, in our stead.
            context.log.warning(f"job {job_id} could not be told that its run ends: {error}")

    # On a thread: the interruption may have hit a loop of this one.
    thread = threading.Thread(target=body, name="let go of the job")
    thread.start()
    thread.join()


def _end_as_canceled(context: dg.AssetExecutionContext, why: str) -> None:
    """Let the run of a job that was canceled elsewhere end as CANCELED rather than as failed."""
    context.log.info(f"{why}; this run ends")
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.status == dg.DagsterRunStatus.STARTED:
        context.instance.report_run_canceling(run, message=why)
