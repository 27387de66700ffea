"""The session of a Dagster run: what an asset of `process_job` does to work for its run's job.

Belongs here: the rules between a run and its job, which all assets share. What happens to the job itself is in
`processing/`.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import dagster as dg
from pydantic import PrivateAttr

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain import ids, terminal, who
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import cancel, collect, retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import run_states
from antenna_orchestration.resources.interruptible import Reports, run_interruptible, was_terminated
from antenna_orchestration.resources.kept_connections import KeptConnections
from antenna_orchestration.resources.stores import Stores

T = TypeVar("T")

Verb = Callable[[Services, Job, Reports], Awaitable[T]]
"""What an asset does for its job, in the coroutine that `RunSession.do` runs."""


PARTITION: Final = "dagster/partition"

AWAITS_RESULTS: Final = (
    "No worker takes tasks of this job and other runs wait, so its run leaves them its place; the job stays RUNNING, "
    "and another run begins when a worker has come"
)

WAITING: Final = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
"""Statuses of a run that has not begun."""


def is_in_charge(run: dg.DagsterRun, job: Job) -> bool:
    """Whether the job is this run's to end: the run took it up last, or was requested for a launch not taken up yet.

    A run that is executed again inherits the tags of the sensor's request, but not the request. The end of a run that
    ended with the stack, or for want of results, is not the job's.
    """
    if run_states.left_its_job(run):
        return False
    if job.run_id is not None:
        return run.run_id == job.run_id
    requested = (run.tags.get(tags.GENERATION), run.tags.get(tags.LAUNCH))
    return run.parent_run_id is None and requested == (str(job.generation), str(job.launch))


def has_another_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether another run of the same job waits or is at work, so that the job goes on when this one ends."""
    statuses = [*WAITING, dg.DagsterRunStatus.STARTED]
    wanted = dg.RunsFilter(job_name=run.job_name, tags={PARTITION: run.tags[PARTITION]}, statuses=statuses)
    return any(other.run_id != run.run_id for other in instance.get_runs(wanted))


class RunSession(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Works for the job of a run's partition.

    A resource, because Dagster makes one for each run, which all assets of the run share: so the run serves the same
    generation of its job from its first asset to its last.
    """

    stores: Stores

    _generation: Generation | None = PrivateAttr(None)
    _launch: int | None = PrivateAttr(None)
    _connections: KeptConnections | None = PrivateAttr(None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Called by Dagster when the run is over."""
        del context
        if self._connections is not None:
            self._connections.end()

    def do(self, context: dg.AssetExecutionContext, verb: Verb[T]) -> T:
        """Claim the job and call the verb for it. The run's heartbeat is the job's from then on.

        An interruption cancels the job only if a person terminated its only run while images were pending. When the
        deployment is stopping, the process was told to end, the run was deleted, or a store does not answer, the job
        stays as it is, and the sensor launches it again.
        """
        kept = self._connections = self._connections or KeptConnections(most=4, name="connections of the run")
        try:
            return run_interruptible(
                context, partial(self._work, kept, context, verb), lambda act: self._run(kept, act)
            )
        except collect.JobLeft as left:
            _end_as_canceled(context, str(left))
            raise dg.DagsterExecutionInterruptedError from None
        except collect.NothingToCollect:
            self._await_results(context)
            raise dg.DagsterExecutionInterruptedError from None
        except dg.DagsterExecutionInterruptedError:
            by_a_person = was_terminated(context) and not self.stores.is_stopping
            self.let_go(context, by_a_person=by_a_person and not has_another_run(context.instance, context.run))
            raise
        except errors.Unavailable as error:
            # Not the job's fault: this launch does not count as one that died.
            self.let_go(context, by_a_person=False)
            raise _failure(error) from error
        except errors.AntennaError as error:
            raise _failure(error) from error

    def _run(self, kept: KeptConnections, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine over connections that all assets of the run share."""
        try:
            return kept.run(act)
        except BaseException:
            # What it began on threads has ended before anybody decides about the job; an interruption waits less long.
            self._connections = None
            kept.end(None)
            raise

    async def _work(
        self, kept: KeptConnections, context: dg.AssetExecutionContext, verb: Verb[T], reports: Reports
    ) -> T:
        kernel.keep_what_is_imported()
        async with kept.services(self.stores.settings) as services:
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
        the job is canceled, or when another run serves its next generation or launch.
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
        if self._launch is None:
            self._launch = _requested_launch(context.run) or job.launch
        job_run, run_id = JobRun(job.job_id, self._generation), context.run.run_id
        if not await services.catalog.jobs.start(job_run, run_id, launch=self._launch):
            job = await services.catalog.jobs.get(job.job_id)
            raise collect.JobLeft(f"job {job.job_id} is {job.status} in launch {job.launch}")
        return await services.catalog.jobs.get(job.job_id)

    async def _choose_generation(self, services: Services, job: Job, run: dg.DagsterRun) -> Job:
        """Serve the generation that the sensor requested the run for, or the current one if a person launched the run.

        A run that a person launches or re-executes on a canceled job retries it. Returns the job as it is then.
        """
        if _requested_launch(run) is not None:
            self._generation = Generation(int(run.tags[tags.GENERATION]))
            return job
        while job.status in (JobStatus.CANCELING, JobStatus.CANCELED):
            await cancel.complete_cancellation(services, job.job_id)
            # Another run may have retried it at the same moment.
            with suppress(errors.Conflict):
                await retry.retry(services, job.job_id, by=who.dagster_run(run.run_id))
            job = await services.catalog.jobs.get(job.job_id)
        self._generation = job.generation
        return job

    def others_wait(self, context: dg.AssetExecutionContext) -> Callable[[], Awaitable[bool]]:
        """Whether runs wait for the place of this one, as a question that a coroutine may ask.

        Nobody waits for the place of a run that a person launched: it stays until its job is over.
        """
        if _requested_launch(context.run) is None:
            return collect.nobody_waits

        async def ask() -> bool:
            try:
                return await asyncio.to_thread(run_states.others_wait, context.instance, context.run)
            except Exception as error:
                # Of whatever library serves Dagster's storage; the next check asks again.
                raise errors.Unavailable(f"Dagster's database does not answer: {error}") from error

        return ask

    def _await_results(self, context: dg.AssetExecutionContext) -> None:
        """Leave the job until there is something to collect: `queued_jobs` launches it again then."""

        async def leave(services: Services) -> None:
            job = await services.catalog.jobs.get(_job_id(context))
            await services.catalog.job_log.add(job.job_id, "awaits_results", AWAITS_RESULTS)
            await services.catalog.collectors.leave(job.job_run, run_id=context.run.run_id, awaits_results=True)

        try:
            run_states.end_awaiting_results(context.instance, context.run.run_id, AWAITS_RESULTS)
            self.stores.call(leave)
        except errors.Unavailable as error:
            # Then the job is launched again at once, as one whose run is gone.
            context.log.warning(f"the job does not know that its run ends: {error}")

    def let_go(self, context: dg.AssetExecutionContext, *, by_a_person: bool) -> None:
        """Stop working for an unfinished job: cancel it if a person ended its run, else let the sensor relaunch it.

        A job whose images are all accounted for is relaunched in any case.
        """
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
        ends = by_a_person and is_in_charge(context.run, job)
        if ends and await cancel.cancel_with_run(services, job, run_id=context.run.run_id):
            return
        await services.catalog.collectors.leave(job.job_run, run_id=context.run.run_id)
        if ends and not job.status.is_terminal:
            context.log.info(
                f"all images of job {job.job_id} are accounted for, so another run finishes it; "
                f"`antenna jobs cancel {job.job_id}` cancels it"
            )


def _job_id(context: dg.AssetExecutionContext) -> JobId:
    """The job of the run's partition. Raises `InvalidInput` if there is none, or if it is not a job's."""
    if not context.has_partition_key:
        raise errors.InvalidInput(
            "this run has no partition: choose the partition job-<id> of a job, or queue images with submit_job; "
            'on the command line, --tags \'{"dagster/partition": "job-<id>"}\''
        )
    return ids.job_of_partition(context.partition_key)


def _requested_launch(run: dg.DagsterRun) -> int | None:
    """The launch for which the sensor requested the run; None for a run that a person launched or re-executed."""
    return int(run.tags[tags.LAUNCH]) if run.parent_run_id is None and tags.LAUNCH in run.tags else None


def _failure(error: errors.AntennaError) -> dg.Failure:
    return dg.Failure(description=terminal.line(error), allow_retries=False)


def _end_as_canceled(context: dg.AssetExecutionContext, why: str) -> None:
    """Let the run of a job that was canceled elsewhere end as CANCELED rather than as failed."""
    context.log.info(f"{why}; this run ends")
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is not None and run.status == dg.DagsterRunStatus.STARTED:
        context.instance.report_run_canceling(run, message=why)
