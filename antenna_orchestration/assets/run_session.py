"""The session of a Dagster run: what an asset of `process_job` does to work for its run's job.

Belongs here: the rules between a run and its job, which all assets share. What happens to the job itself is in
`processing/`.
"""

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import dagster as dg
from pydantic import PrivateAttr

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain import ids
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import cancel, collect, retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports, run_interruptible, was_terminated
from antenna_orchestration.resources.stores import Stores

T = TypeVar("T")

Verb = Callable[[Services, Job, Reports], Awaitable[T]]
"""What an asset does for its job, in the coroutine that `RunSession.do` runs."""


class RunSession(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Works for the job of a run's partition.

    A resource, because Dagster makes one for each run, which all assets of the run share: so the run serves the same
    generation of its job from its first asset to its last.
    """

    stores: Stores

    _generation: Generation | None = PrivateAttr(None)

    def do(self, context: dg.AssetExecutionContext, verb: Verb[T]) -> T:
        """Claim the job and call the verb for it. The run's heartbeat is the job's from then on.

        An interruption cancels the job only if a person terminated the run. When the deployment is stopping, the
        process was told to end, or a store does not answer, the job stays as it is, and the sensor launches it again.
        """
        try:
            return run_interruptible(context, partial(self._work, context, verb))
        except collect.JobLeft as left:
            _end_as_canceled(context, str(left))
            raise dg.DagsterExecutionInterruptedError from None
        except dg.DagsterExecutionInterruptedError:
            self.let_go(context, by_a_person=was_terminated(context) and not self.stores.is_stopping)
            raise
        except errors.Unavailable as error:
            # Not the job's fault: this launch does not count as one that died.
            self.let_go(context, by_a_person=False)
            raise _failure(error) from error
        except errors.AntennaError as error:
            raise _failure(error) from error

    async def _work(self, context: dg.AssetExecutionContext, verb: Verb[T], reports: Reports) -> T:
        kernel.keep_what_is_imported()
        async with self.stores.opened() as services:
            job = await self.claim(services, context)
            if job.status.is_terminal:
                return await verb(services, job, reports)
            await services.catalog.collectors.enter(
                job.job_run, run_id=context.run.run_id, host=self.stores.settings.host_id
            )
            return await verb(services, job, reports)

    async def claim(self, services: Services, context: dg.AssetExecutionContext) -> Job:
        """Take the job up for this run; idempotent. A job that succeeded or failed is returned as it is.

        A job that a person launched may still be queued: it is claimed here, not by the sensor. Raises `JobLeft` when
        the job is canceled, or when another run serves its next generation.
        """
        job = await services.catalog.jobs.get(_job_id(context))
        if self._generation is None:
            job = await self._choose_generation(services, job, context.run)
        if job.generation != self._generation:
            raise collect.JobLeft(
                f"job {job.job_id} is in generation {job.generation}, this run was for {self._generation}"
            )
        if job.status is JobStatus.QUEUED:
            await services.catalog.jobs.claim(1, job_id=job.job_id)
            job = await services.catalog.jobs.get(job.job_id)
        if job.status in (JobStatus.SUCCESS, JobStatus.FAILURE):
            return job
        if not await services.catalog.jobs.start(JobRun(job.job_id, self._generation), context.run.run_id):
            raise collect.JobLeft(f"job {job.job_id} is {job.status}")
        return await services.catalog.jobs.get(job.job_id)

    async def _choose_generation(self, services: Services, job: Job, run: dg.DagsterRun) -> Job:
        """Serve the generation that the sensor requested the run for, or the current one if a person launched the run.

        A run that a person launches or re-executes on a canceled job retries it. Returns the job as it is then.
        """
        if run.parent_run_id is None and tags.LAUNCH in run.tags:
            self._generation = Generation(int(run.tags[tags.GENERATION]))
            return job
        if job.status is JobStatus.CANCELED:
            await retry.retry(services, job.job_id)
            job = await services.catalog.jobs.get(job.job_id)
        self._generation = job.generation
        return job

    def let_go(self, context: dg.AssetExecutionContext, *, by_a_person: bool) -> None:
        """Stop working for an unfinished job: cancel it if a person ended the run, else let the sensor relaunch it."""
        # On a thread: the interruption may have hit this thread's event loop.
        thread = threading.Thread(target=self._let_go, args=(context, by_a_person), name="let go of the job")
        thread.start()
        thread.join()

    def _let_go(self, context: dg.AssetExecutionContext, by_a_person: bool) -> None:
        try:
            self.stores.call(partial(self._cancel_or_leave, context, by_a_person))
        except errors.AntennaError as error:
            # The sensors do the same, by the run's status and the heartbeat's silence.
            context.log.warning(f"job {_job_id(context)} could not be told that its run ends: {error}")

    async def _cancel_or_leave(self, context: dg.AssetExecutionContext, by_a_person: bool, services: Services) -> None:
        job = await services.catalog.jobs.get(_job_id(context))
        if by_a_person and job.generation == self._generation:
            await cancel.cancel(services, job.job_id, reason="the run was terminated")
        else:
            await services.catalog.collectors.leave(job.job_run, run_id=context.run.run_id)


def _job_id(context: dg.AssetExecutionContext) -> JobId:
    return ids.job_of_partition(context.partition_key)


def _failure(error: errors.AntennaError) -> dg.Failure:
    return dg.Failure(description=str(error), allow_retries=False)


def _end_as_canceled(context: dg.AssetExecutionContext, why: str) -> None:
    """Let the run of a job that was canceled elsewhere end as CANCELED rather than as failed."""
    context.log.info(f"{why}; this run ends")
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.status == dg.DagsterRunStatus.STARTED:
        context.instance.report_run_canceling(run, message=why)
