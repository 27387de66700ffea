"""Health: the net below the collectors. Looks at every active job and at what is left over, repairs, and says so.

The checks run in a fixed order. Each is kept from the others' errors, and so is each job within a check. What a check
cannot decide safely it reports. Those that only look (`WATCHED`) also run every half minute: whatever stands still is a
failing check within two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.domain import stalls
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.domain.job import ACTIVE, Job, JobStatus
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import cancel, clear_queue, finish, lake_watch, scale, served_here
from antenna_orchestration.processing.reconcile import rebuild
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import names
from antenna_orchestration.queue.streams import HEARTBEAT_TTL
from antenna_orchestration.upkeep import disk_space, lake_leftovers

T = TypeVar("T", Job, JobRun)

logger = logging.getLogger(__name__)

SILENT_AFTER: Final = 15.0
"""Silence, in seconds, after which a collector is considered dead."""

STALE_AFTER: Final = 600.0
"""Seconds after which a job that the sensor should have relaunched is reported to people."""

UNHEARD_AFTER: Final = 60.0
"""Silence of a run, in seconds, after which the sensor `lost_runs` should have ended it."""

SKEW: Final = 30.0
"""Seconds by which the clocks of a deployment's machines may differ."""

UNHEARD_ALERTS: Final = 600.0
"""Seconds after which a round of alerts is late."""

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


Round = Callable[[Services, CheckResult, bool], Awaitable[None]]


async def check(services: Services, *, dry_run: bool = False) -> HealthReport:
    """Run all checks.

    With `dry_run` nothing is changed, and what would be repaired counts as fixed; not so a stream that is missing,
    without which no job goes on.
    """
    return await _run(services, CHECKS, dry_run=dry_run)


async def watch(services: Services) -> HealthReport:
    """Run the checks that only look; nothing is changed."""
    return await _run(services, WATCHED, dry_run=True)


def unanswered(error: errors.Unavailable) -> HealthReport:
    """What is to be said while a server does not answer, so that nothing can be looked at: the check `queue` fails."""
    return HealthReport(results=[CheckResult("queue", checked=1, unfixable=1, details=[f"a server is away: {error}"])])


async def redate(services: Services) -> int:
    """Set times of the catalog to now that lie in the future, and delete heartbeats that do; how many there were."""
    return await services.catalog.redate() + await services.heartbeats.leave_ahead(datetime.now(UTC))


def of_redated(rows: int) -> str:
    """What `redate` did, as a line."""
    return f"the database's clock was set back: {counted(rows, 'row')} with times in the future set to now"


async def clear_leftovers(services: Services) -> CheckResult:
    """Clear what jobs that are over left behind; the check `leftovers` alone."""
    return (await _run(services, ["leftovers"], dry_run=False)).results[0]


async def _run(services: Services, names: Iterable[str], *, dry_run: bool) -> HealthReport:
    results: list[CheckResult] = []
    for name in names:
        result = CheckResult(name)
        try:
            await _ROUNDS[name](services, result, dry_run)
        except errors.Unavailable as error:
            result.unfixable += 1
            result.details.append(f"not looked at: {error}")
            logger.warning("health check %s: %s", name, error)
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
    suspects = await services.catalog.jobs.suspects(claimed_for=0, silent_for=SILENT_AFTER, awaiting=True, limit=MANY)
    silent = {job.job_id for job in suspects}

    async def look(job: Job) -> None:
        try:
            found = await rebuild(services, job.job_id, dry_run=dry_run)
        except errors.Conflict:
            # The job was finished or canceled after it was listed.
            return
        # Missing counters are not reported: a job that never had a collector has none.
        if found.lost or found.reopened:
            result.fixed += 1
            result.details.append(f"job {job.job_id}: {counted(found.lost, 'image')} published again")

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
    """Report running jobs that stand still, and write the queue's counters into the log of each running job."""
    workers = await services.heartbeats.workers()
    unheard = await services.catalog.jobs.suspects(claimed_for=STALE_AFTER, silent_for=UNHEARD_AFTER, limit=MANY)
    silent = {job.job_id for job in unheard}

    async def look(job: Job) -> None:
        waiting = None
        if job.epoch is not None:
            waiting = await services.queue.counts(job.job_run, job.epoch)
        try:
            progress = await services.live.counters.read(job.job_run)
        except errors.Unavailable:
            # No decision rests on Redis: the workers' heartbeats say whether images move.
            progress = None
        rate = progress.rate if progress else 0.0
        if why := stalls.why_still(job, workers, silent=silent, rate=rate, now=datetime.now(UTC)):
            result.unfixable += 1
            why_not = stalls.why_unreachable(job, workers)
            result.details.append(f"job {job.job_id} stands still: {why}{f'; {why_not}' if why_not else ''}")
        elif why := stalls.why_forbidden(job, workers):
            result.unfixable += stalls.is_unserved_for_long(job, datetime.now(UTC))
            result.details.append(f"job {job.job_id} waits: {why}")
        line = replace(progress, waits="").line if progress else "no live counters"
        if waiting:
            line += f"; {waiting.queued} waiting, {waiting.leased} leased, {waiting.redelivered} redelivered"
        result.details.append(f"job {job.job_id}: {line}")
        if not dry_run:
            await services.catalog.job_log.add(job.job_id, "snapshot", line)

    await _each(result, await services.catalog.jobs.list(statuses=[JobStatus.RUNNING], limit=MANY), look)


async def _leftovers(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Clear what finished, deleted jobs and earlier generations hold on the queue, in Redis and in the lake."""

    async def look(found: JobRun) -> None:
        job_id, generation = found
        job = await services.catalog.jobs.find(job_id)
        is_current = job is not None and job.generation == generation
        if job is not None and is_current and not job.status.is_terminal:
            return
        if not dry_run:
            if job is not None and is_current:
                # The finisher may have died before the clean-up; then the parts are still there, too.
                await lake_watch.check_answers(services)
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
    # As for `_sources`: deriving tables anew has many imports.
    from antenna_orchestration.upkeep import delete

    # Before what looks into it on threads that others need: it may never answer. A full one is cleared.
    await lake_watch.check_answers(services)
    swept = await delete.complete(services, dry_run=dry_run)
    result.checked += len(swept.cleared) + len(swept.failed)
    result.fixed += len(swept.cleared)
    result.unfixable += len(swept.failed)
    result.details += swept.cleared + swept.failed
    in_lake = await lake_leftovers.clear(services, dry_run=dry_run)
    result.checked += in_lake.checked
    result.fixed += len(in_lake.cleared)
    result.unfixable += len(in_lake.kept)
    result.details += in_lake.cleared + in_lake.kept


async def _workers(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report living workers, and active jobs that no worker serves; after a minute that is a fault."""
    workers = await services.heartbeats.workers()
    result.checked = len(workers)
    result.details += [
        f"{worker.worker}: {worker.state}, {worker.rate:.1f} images/s, {worker.leased} leased" for worker in workers
    ]
    now = datetime.now(UTC)
    unserved = [job for job in await _active(services) if stalls.why_unserved(job, workers)]
    unfit = await served_here.why_not(services, unserved)
    held_up = await scale.why_not_started(services, unserved)
    for job in unserved:
        if why := stalls.why_unserved(job, workers, unfit.get(job.job_id, ""), held_up.get(job.job_id, "")):
            result.unfixable += stalls.is_unserved_for_long(job, now)
            result.details.append(f"job {job.job_id} waits: {why}")


async def _runs(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report runs that are not heard and were not ended."""
    silent_for = await services.catalog.runs.silent_for()
    result.checked = len(silent_for)
    for run, seconds in silent_for.items():
        if seconds > UNHEARD_AFTER:
            result.unfixable += 1
            result.details.append(f"run {run} was last heard {seconds:.0f} s ago; is the sensor lost_runs running?")


async def _queue(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Make streams and buckets again that are missing; report those that are missing still."""
    result.checked = len(names.STORED)
    missing = await services.missing_streams()
    if missing and not dry_run:
        await services.ensure_streams()
    still = await services.missing_streams() if missing else []
    result.fixed, result.unfixable = len(missing) - len(still), len(still)
    result.details += [f"the stream {name} {'is' if name in still else 'was'} missing" for name in missing]


async def _clocks(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report machines whose clocks differ from this one's: the workers' and the database's.

    Times of heartbeats and leases are compared across machines; a clock that was set, or that jumped, shows here. What
    was written before the database's clock was set back is set to now.
    """
    if not dry_run and (redated := await redate(services)):
        result.fixed += redated
        result.details.append(of_redated(redated))
    now = datetime.now(UTC)
    clocks = {f"worker {worker.worker} on {worker.host}": worker.at for worker in await services.heartbeats.workers()}
    clocks["the database"] = await services.catalog.now()
    result.checked = len(clocks)
    for whose, at in clocks.items():
        # A heartbeat is up to half a minute old.
        oldest = HEARTBEAT_TTL if whose.startswith("worker") else 0.0
        ahead = (at - now).total_seconds()
        if ahead > SKEW or ahead < -(SKEW + oldest):
            result.unfixable += 1
            result.details.append(f"the clock of {whose} is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}")


async def _lake(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report a lake that is not mounted, takes no files, or does not answer: whatever is to be stored there waits."""
    result.checked = 1
    try:
        await lake_watch.check(services)
    except errors.Unavailable as error:
        result.unfixable = 1
        result.details.append(f"{error}; results wait on the queue meanwhile")


async def _disk_space(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report disks without room, and a queue that stores nothing."""
    found = await disk_space.look(services)
    result.checked, result.unfixable, result.details = len(found.disks), len(found.troubles), found.lines


async def _pipelines(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report files and packages of pipelines that cannot be read here; all other pipelines work."""
    found = await asyncio.to_thread(registry.read, services.settings.pipeline_paths)
    result.checked, result.unfixable = len(found.pipelines) + len(found.broken), len(found.broken)
    result.details += [f"broken: {one}" for one in found.broken]


async def _sources(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report watched sources that cannot be listed or submitted, and those at which nobody looks."""
    # Its imports take a while, and the collectors import this module.
    from antenna_orchestration.processing import watched_sources

    result.checked = await services.catalog.sources.count()
    result.details += await watched_sources.troubles(services) if result.checked else []
    result.unfixable = len(result.details)


async def _alerts(services: Services, result: CheckResult, dry_run: bool) -> None:
    """Report targets of alerts that do not answer, a file of alerts that cannot be used, and that nobody looks."""
    if services.settings.alerts is None:
        return
    # Its imports take a while, and the collectors import this module.
    from antenna_orchestration.upkeep import alerts

    result.checked = len(await services.catalog.alerts.targets())
    result.details += (await alerts.troubles(services)).values()
    ago = await services.catalog.alerts.last_round()
    if ago is not None and ago > UNHEARD_ALERTS:
        result.details.append(f"nobody has looked for alerts for {ago / 60:.0f} minutes; is the sensor alerts running?")
    result.unfixable = len(result.details)


_ROUNDS: Final[dict[str, Round]] = {
    # First, since others publish to the streams.
    "queue": _queue,
    "lost_images": _lost_images,
    "stale_jobs": _stale_jobs,
    "running_jobs": _running_jobs,
    "leftovers": _leftovers,
    "workers": _workers,
    "runs": _runs,
    "clocks": _clocks,
    "lake": _lake,
    "disk_space": _disk_space,
    "pipelines": _pipelines,
    "sources": _sources,
    "alerts": _alerts,
}

CHECKS: Final = {name: inspect.cleandoc(run.__doc__ or "") for name, run in _ROUNDS.items()}
"""All checks in their order, and what each does."""

WATCHED: Final = (
    "queue", "running_jobs", "workers", "runs", "clocks", "lake", "disk_space", "pipelines", "sources", "alerts",
)  # fmt: skip
"""The checks that cost little and only look."""
