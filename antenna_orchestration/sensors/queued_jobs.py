"""The sensor that launches a run for each queued job, and relaunches jobs whose run is gone.

A tick may take a minute and shares its threads with other sensors, so it publishes only the first tasks of the jobs
that it claims; the run publishes the rest. A crash between the claim and the run request leaves the job CLAIMED, and a
later tick relaunches it.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from enum import Enum

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.run_session import PARTITION, WAITING, is_in_charge
from antenna_orchestration.domain import ids, reach, terminal
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.processing import process_job
from antenna_orchestration.processing import cancel, clear_queue, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import run_states
from antenna_orchestration.resources.stores import Stores

logger = logging.getLogger(__name__)

CLAIMS_AT_ONCE = 25
CLAIMING = 8.0
"""Seconds of a tick, which Dagster ends after 60, after which no more jobs are claimed."""

MOST_WAITING = 500
"""Claimed jobs whose runs wait, from which on a tick claims once: Dagster looks at all waiting runs every second."""

CLAIMED_TOO_LONG = 30.0
"""Seconds after which a claimed job without a run is relaunched."""

LOOK_AFTER = 10.0
"""Silence of a job's collector, in seconds, after which its run is looked for: two heartbeats are missing."""

MAX_STALLED = 5
"""Launches in a row that died without accounting for one image, after which the job fails."""

PRIORITY = "dagster/priority"
INTERACTIVE = 1_000
HAS_RESULTS = 500
"""Priorities of runs in the run queue, above those that jobs can have."""

_ENDED_BY_A_PERSON = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


@dg.sensor(
    job=process_job,
    # Every five seconds all the same, as the daemon looks, and once more when a job came.
    minimum_interval_seconds=1,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes jobs that antenna submit or submit_job queued and starts one run of process_job for each, "
    "whose partition is the job; starts another run when a job's run died. Switched off, no job begins.",
)
def queued_jobs(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult | dg.SkipReason:
    """Claim queued jobs, publish their first tasks, and request one run per job; relaunch jobs whose run is gone."""
    # Filled step by step: jobs that were claimed or taken back before a store failed get their run all the same.
    jobs: list[Job] = []
    deployments: dict[JobId, Sequence[str]] = {}

    async def tick(services: Services) -> None:
        await _claim(services, jobs)
        suspects = await services.catalog.jobs.suspects(claimed_for=CLAIMED_TOO_LONG, silent_for=LOOK_AFTER)
        silent_for = await services.catalog.runs.silent_for() if suspects else {}
        for job in suspects:
            state = await asyncio.to_thread(_run_state, context.instance, job, silent_for)
            if state is RunState.TERMINATED and await cancel.cancel_with_run(services, job, run_id=job.run_id or ""):
                continue
            if state is not RunState.ALIVE and await _take_back(services, job, state.value, level="WARNING"):
                jobs.append(await services.catalog.jobs.get(job.job_id))
        # After the suspects: nobody works yet on what is launched here.
        await _launch_awaited(services, jobs)
        await _put_first(services, context.instance)
        for job in await services.catalog.jobs.list(statuses=[JobStatus.CANCELING]):
            await cancel.complete_cancellation(services, job.job_id)
        deployments.update(await services.catalog.jobs.deployments_of(job.job_id for job in jobs))

    try:
        stores.in_tick(tick)
    except errors.Unavailable as error:
        if not jobs:
            return dg.SkipReason(f"a server does not answer: {error}")
        logger.warning("the rest of this tick waits for the next: %s", error)
    if not jobs:
        return dg.SkipReason("no queued jobs")
    return dg.SensorResult(
        dynamic_partitions_requests=[
            processing_jobs.build_add_request([ids.partition_key(job.job_id) for job in jobs])
        ],
        run_requests=[run_request(job, deployments.get(job.job_id, ())) for job in jobs],
    )


def run_request(job: Job, deployments: Sequence[str]) -> dg.RunRequest:
    """The run of a claimed job, with what people know the job by as tags.

    Dagster never forgets a run key: (job, generation) would silently suppress every relaunch, so the key also holds the
    launch number.
    """
    if job.interactive:
        role = tags.COLLECTOR_INTERACTIVE
    else:
        role = tags.COLLECTOR_SMALL if job.total <= tags.SMALL else tags.COLLECTOR_BULK
    more = f" and {len(deployments) - 1} more" if len(deployments) > 1 else ""
    known = {tags.SUBMITTED_BY: job.created_by or "", tags.DEPLOYMENT: f"{deployments[0]}{more}" if deployments else ""}
    return dg.RunRequest(
        run_key=f"{job.job_id}:{job.generation}:{job.launch}",
        partition_key=ids.partition_key(job.job_id),
        tags={
            tags.ROLE: role,
            tags.share_of(role): job.project,
            tags.JOB: str(job.job_id),
            tags.NAME: terminal.line(job.name),
            tags.PROJECT: job.project,
            tags.PIPELINE: job.pipeline,
            **{tag: terminal.line(text) for tag, text in known.items() if text},
            tags.GENERATION: str(job.generation),
            tags.LAUNCH: str(job.launch),
            PRIORITY: str(INTERACTIVE if job.interactive else job.priority),
        },
    )


async def _claim(services: Services, jobs: list[Job]) -> None:
    """Claim jobs for some seconds, add them to `jobs`, and publish their first tasks.

    Once at least, however many jobs wait for their runs: important ones come first.
    """
    until = time.monotonic() + CLAIMING
    while await _claim_some(services, jobs) and time.monotonic() < until:
        waiting = await services.catalog.jobs.list(statuses=[JobStatus.CLAIMED], limit=MOST_WAITING)
        if len(waiting) == MOST_WAITING:
            return


async def _claim_some(services: Services, jobs: list[Job]) -> bool:
    """Claim the next jobs; whether there may be more."""
    claimed = await services.catalog.jobs.claim(CLAIMS_AT_ONCE)
    jobs += claimed
    # It should take a fraction of a second, however many large jobs are claimed.
    share = max(publish.AT_CLAIM // max(len(claimed), 1), publish.AT_SUBMIT)
    for job in claimed:
        await services.catalog.job_log.add(
            job.job_id, "claimed", f"Claimed, launch {job.launch}: {counted(job.total, 'image')}"
        )
        try:
            await publish.publish(services, job.job_id, limit=share)
        except errors.Unavailable as error:
            logger.warning("job %s: its run publishes all of it: %s", job.job_id, error)
    return len(claimed) == CLAIMS_AT_ONCE


class RunState(Enum):
    """What Dagster knows about the runs of a job whose collector is silent."""

    ALIVE = "one of its runs waits or is alive"
    TERMINATED = "its run was terminated"
    GONE = "its run is gone"


def _run_state(instance: dg.DagsterInstance, job: Job, silent_for: Mapping[str, float]) -> RunState:
    """The first of the states above that one of the job's runs is in.

    `silent_for` is the silence of the runs that were heard; a dead one is ended in Dagster.
    """
    found = {RunState.GONE}
    for record in instance.get_run_records(
        dg.RunsFilter(job_name=process_job.name, tags={PARTITION: ids.partition_key(job.job_id)}), limit=10
    ):
        run = record.dagster_run
        if run.status in _ENDED_BY_A_PERSON and is_in_charge(run, job):
            # The run itself, or the sensor job_run_status, cancels the job, unless an outage prevented it.
            found.add(RunState.TERMINATED)
        elif run.status == dg.DagsterRunStatus.STARTED and (
            why := run_states.why_dead(record, silent_for.get(run.run_id))
        ):
            run_states.end(instance, run, why)
        elif run.status == dg.DagsterRunStatus.STARTED or run.status in WAITING:
            found.add(RunState.ALIVE)
    return next(state for state in RunState if state in found)


async def _launch_awaited(services: Services, jobs: list[Job]) -> None:
    """Launch jobs again whose run left until a worker comes, where one did; add them to `jobs`."""
    awaiting = await services.catalog.jobs.awaiting_results()
    workers = await services.heartbeats.workers() if awaiting else []
    for job in awaiting:
        tasks = await services.queue.counts(job.job_run, job.epoch) if job.epoch else None
        if await services.queue.has_unread_result(job.job_run):
            why = "there are results to collect"
        elif tasks is None:
            # Its collector publishes the tasks again.
            why = "the queue has lost its tasks"
        elif tasks.leased and reach.some_serve(workers, job):
            # If none of its images can be loaded there will be no result, and its collector has to tell the workers.
            why = "a worker took tasks"
        else:
            continue
        if await _take_back(services, job, why, level="INFO"):
            jobs.append(await services.catalog.jobs.get(job.job_id))


async def _put_first(services: Services, instance: dg.DagsterInstance) -> None:
    """Let runs begin first whose jobs have results to collect: those before them may wait for workers in vain."""
    queued = dg.RunsFilter(job_name=process_job.name, statuses=[dg.DagsterRunStatus.QUEUED])
    waiting = await asyncio.to_thread(instance.get_runs, queued, limit=MOST_WAITING)
    for run in waiting if len(waiting) > 1 else ():
        if tags.JOB not in run.tags or int(run.tags.get(PRIORITY, "0")) >= HAS_RESULTS:
            continue
        job_run = JobRun(JobId(int(run.tags[tags.JOB])), Generation(int(run.tags[tags.GENERATION])))
        if await services.queue.has_unread_result(job_run):
            await asyncio.to_thread(instance.add_run_tags, run.run_id, {PRIORITY: str(HAS_RESULTS)})


async def _take_back(services: Services, job: Job, why: str, *, level: str) -> bool:
    """Raise the job's launch number; False if another process did so first, or if the job is given up."""
    stalled = await services.catalog.jobs.take_back(job)
    if stalled is None:
        return False
    if stalled < MAX_STALLED:
        await services.catalog.job_log.add(
            job.job_id,
            "relaunched",
            f"{why[0].upper()}{why[1:]}; launch {job.launch + 1}",
            level=level,
            stalled=stalled,
        )
        return True
    reason = f"{stalled} launches in a row died without accounting for an image"
    said = f"FAILURE: {reason}"
    if await services.catalog.jobs.finish(job.job_run, JobStatus.FAILURE, reason, said=said, level="ERROR"):
        await clear_queue.clear_queue(services, job)
    return False
