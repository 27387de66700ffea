"""Health: the net below the collectors. Looks at every active job and at what is left over, repairs, and says so.

The checks run in a fixed order. Each is kept from the others' errors, and so is each job within a check. What a check
cannot decide safely it reports.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.domain.job import ACTIVE, DispatchMode, Job, JobStatus
from antenna_orchestration.domain.reach import can_serve, why_not
from antenna_orchestration.processing import cancel, clear_queue, disk_space, finish, lake_leftovers
from antenna_orchestration.processing.reconcile import rebuild
from antenna_orchestration.processing.services import Services

T = TypeVar("T", Job, JobRun)

logger = logging.getLogger(__name__)

SILENT_AFTER: Final = 15.0
"""Silence, in seconds, after which a collector is considered dead."""

STALE_AFTER: Final = 600.0
"""Seconds after which a job that the sensor should have relaunched is reported to people."""

OUTAGE_AFTER: Final = 3
"""Jobs in a row for which a store was unavailable, after which the check leaves the rest to the next round."""

MANY: Final = 100_000
"""Active jobs that one check looks at, at most."""


@dataclass(slots=True)
class CheckResult:
    """What one check found: how many things it looked at, repaired, and could not repair."""

    name: str
    checked: int = 0
    fixed: int = 0
    unfixable: int = 0
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthReport:
    """All checks of one round."""

    results: list[CheckResult]

    @property
    def is_healthy(self) -> bool:
        """Whether everything that was found could be repaired."""
        return not any(result.unfixable for result in self.results)


async def check(services: Services, *, dry_run: bool = False) -> HealthReport:
    """Run all checks. With `dry_run` nothing is changed, and what would be repaired counts as fixed."""
    rounds: list[tuple[str, Callable[[Services, CheckResult, bool], Awaitable[None]]]] = [
        ("lost_images", _lost_images),
        ("stale_jobs", _stale_jobs),
        ("running_jobs", _running_jobs),
        ("leftovers", _leftovers),
        ("workers", _workers),
        ("disk_space", _disk_space),
    ]
    results: list[CheckResult] = []
    for name, run in rounds:
        result = CheckResult(name)
        try:
            await run(services, result, dry_run)
        except Exception as error:
            result.unfixable += 1
            result.details.append(f"the check itself failed: {error or type(error).__name__}")
            logger.exception("health check %s", name)
        results.append(result)
    return HealthReport(results=results)


async def _each(result: CheckResult, items: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Act on every job, even if it fails for some. When a store is unavailable for several in a row, raise."""
    out = 0
    for item in items:
        result.checked += 1
        try:
            await act(item)
            out = 0
        except Exception as error:
            out = out + 1 if isinstance(error, errors.Unavailable) else 0
            if out == OUTAGE_AFTER:
                raise
            what = f"job {item.job_id if isinstance(item, Job) else item[0]}"
            result.unfixable += 1
            result.details.append(f"{what}: {error or type(error).__name__}")
            logger.exception("health check %s, %s", result.name, what)


async def _active(services: Services) -> Sequence[Job]:
    return await services.catalog.jobs.list(statuses=ACTIVE, limit=MANY)


async def _lost_images(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Active jobs without a living collector; the others are checked by their collectors."""
    silent = {
        job.job_id for job in await services.catalog.jobs.suspects(claimed_for=0, silent_for=SILENT_AFTER, limit=MANY)
    }

    async def look(job: Job) -> None:
        try:
            found = await rebuild(services, job.job_id, dry_run=dry_run)
        except errors.Conflict:
            # The job was finished or canceled after it was listed.
            return
        # Missing counters are not reported: a job that never had a collector has none.
        if found.lost or found.reopened:
            result.fixed += 1
            result.details.append(f"job {job.job_id}: {found.lost} images published again")

    unattended = [job for job in await _active(services) if job.job_id in silent or job.status is JobStatus.QUEUED]
    await _each(result, unattended, look)


async def _stale_jobs(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Complete half-done cancellations; report jobs that the sensor should have relaunched long ago."""

    async def complete(job: Job) -> None:
        if not dry_run:
            await cancel.complete_cancellation(services, job.job_id)
        result.fixed += 1
        result.details.append(f"job {job.job_id}: cancellation completed")

    await _each(result, await services.catalog.jobs.list(statuses=[JobStatus.CANCELING], limit=MANY), complete)
    minutes = f"{STALE_AFTER / 60:.0f} minutes"
    for job in await services.catalog.jobs.suspects(claimed_for=STALE_AFTER, silent_for=STALE_AFTER, limit=MANY):
        result.checked += 1
        if job.status is JobStatus.CLAIMED:
            # Its run may be waiting in Dagster's run queue, which is not a fault.
            result.details.append(f"job {job.job_id} was claimed more than {minutes} ago and its run has not begun")
        else:
            result.unfixable += 1
            result.details.append(
                f"job {job.job_id} is {job.status} and nobody has worked on it for {minutes}; "
                "is the sensor queued_jobs running?"
            )


async def _running_jobs(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Write the queue's counters into the log of each running job."""

    async def look(job: Job) -> None:
        waiting = None
        if job.epoch is not None:
            waiting = await services.queue.counts(job.job_run, job.epoch)
        progress = await services.live.counters.read(job.job_run)
        line = progress.line if progress else "no live counters"
        if waiting:
            line += f"; {waiting.queued} waiting, {waiting.leased} leased, {waiting.redelivered} redelivered"
        result.details.append(f"job {job.job_id}: {line}")
        if not dry_run:
            await services.catalog.job_log.add(job.job_id, "snapshot", line)

    await _each(result, await services.catalog.jobs.list(statuses=[JobStatus.RUNNING], limit=MANY), look)


async def _leftovers(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Clear what finished jobs and earlier generations still hold on the queue, in Redis and in the lake."""

    async def look(found: JobRun) -> None:
        job_id, generation = found
        job = await services.catalog.jobs.find(job_id)
        is_current = job is not None and job.generation == generation
        if job is not None and is_current and not job.status.is_terminal:
            return
        if not dry_run:
            if job is not None and is_current:
                # The finisher may have died before the clean-up; then the parts are still there, too.
                await finish.clean_up(services, job)
            else:
                await clear_queue.clear_job_run(services, found, job.pipeline if job else None)
        result.fixed += 1
        result.details.append(f"job {job_id}, generation {generation}: cleared from queue and Redis")

    found = await services.queue.jobs_on_queue() | set(await services.announcements.read())
    with contextlib.suppress(errors.Unavailable):
        # While Redis does not answer, counters stay for the next round.
        found |= await services.live.counters.jobs()
    await _each(result, sorted(found), look)
    in_lake = await lake_leftovers.clear(services, dry_run=dry_run)
    result.checked += in_lake.checked
    result.fixed += len(in_lake.cleared)
    result.details += in_lake.cleared


async def _workers(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report living workers, and active jobs that no worker serves."""
    workers = await services.heartbeats.workers()
    result.checked = len(workers)
    result.details += [
        f"{worker.worker}: {worker.state}, {worker.rate:.1f} images/s, {worker.leased} leased" for worker in workers
    ]
    for job in await _active(services):
        if not job.total or any(can_serve(worker, job) for worker in workers):
            continue
        if job.dispatch_mode is DispatchMode.SYNC:
            why = f"no processing service serves {job.pipeline} (`antenna push`)"
        elif any(job.pipeline in worker.pipelines for worker in workers):
            why = f"no worker for {job.pipeline} reaches {', '.join(job.source_kinds)}"
        else:
            why = f"no worker listens for {job.pipeline}" + why_not(workers, job.pipeline)
        result.details.append(f"job {job.job_id} waits: {why}")


async def _disk_space(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report disks without room, and a queue that stores nothing."""
    found = await disk_space.look(services)
    result.checked, result.unfixable, result.details = len(found.disks), len(found.troubles), found.lines
