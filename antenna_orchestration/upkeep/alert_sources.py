"""What alerts are made of: one function for each kind of thing that may be wrong, in the list `SOURCES`.

A source looks, and returns all that is wrong of its events. Whether and when that is told is decided elsewhere
(`domain/alerts.py`). To add one, write such a function, give it an event there, and put it into the list.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import KindOfJobs
from antenna_orchestration.domain import ids, stalls
from antenna_orchestration.domain.alerts import Alert, Event, OpenAlert, Seen, named, quoted
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.season import KINDS, Finding
from antenna_orchestration.processing.services import Records, joined_by_queue

logger = logging.getLogger(__name__)

MOST_JOBS: Final = 500
"""Jobs that ended, and kinds of waiting jobs, that one round looks at; the next looks at others."""

FAILED_FOR: Final = timedelta(days=7)
"""After this time a failed job that nobody tried again counts as wrong no more."""

_REASON: Final = 500
"""Characters of a reason that are told."""

SEASONS_EVERY: Final = 600.0
"""Seconds between looks at seasons: each reads the files of all projects, which change with jobs and at noon."""

_seasons_looked_at = -math.inf

FAILURE_KEY: Final = "job_failure"
SUCCESS_KEY: Final = "job_success"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What a source may need to know."""

    # Since when alerts are made: what ended before is told to nobody.
    since: datetime
    # Events that any target wants.
    wanted: frozenset[Event]
    opened: Sequence[OpenAlert]


Source = Callable[[Records, Looking], Awaitable[Seen]]


async def ended_jobs(records: Records, looking: Looking) -> Seen:
    """Jobs that failed; jobs that were done, where somebody wants to know."""
    statuses = [JobStatus.FAILURE, *([JobStatus.SUCCESS] if Event.JOB_SUCCESS in looking.wanted else [])]
    ended = await records.catalog.jobs.ended_untold(statuses=statuses, since=looking.since, limit=MOST_JOBS)
    opened = {alert.key: alert for alert in looking.opened if alert.event is Event.JOB_FAILURE}
    known = {key: _failed_job(key) for key in opened}
    jobs = await records.catalog.jobs.by_id({job for job, _ in known.values()}) if known else {}
    still: list[Alert] = []
    dropped: list[str] = []
    for key, (job_id, generation) in known.items():
        job = jobs.get(job_id)
        if _is_over_unwell(job, generation):
            dropped.append(key)
        elif job is not None and job.status is not JobStatus.SUCCESS:
            # What is being tried again has no reason now.
            still.append(_of_failure(job, key) if job.status is JobStatus.FAILURE else opened[key])
    return Seen(
        of=(f"{FAILURE_KEY}:", f"{SUCCESS_KEY}:"),
        alerts=[*still, *(_of_failure(job) if job.status is JobStatus.FAILURE else _of_success(job) for job in ended)],
        dropped=dropped,
    )


async def unserved_jobs(records: Records, looking: Looking) -> Seen:
    """Jobs that no worker serves: one alert for each pipeline of a project. Raises `Unavailable`."""
    kinds = await records.catalog.jobs.oldest_active(MOST_JOBS)
    if not kinds:
        return Seen(of=("no_worker:",), alerts=())
    # Their imports take a while.
    from antenna_orchestration.processing import scale, served_here

    async with joined_by_queue(records) as services:
        workers = await services.heartbeats.workers()
        unserved = [one for one in kinds if stalls.why_unserved(one.job, workers)]
        these = [one.job for one in unserved]
        unfit = await served_here.why_not(services, these)
        held_up = await scale.why_not_started(services, these)
    alerts = [
        _of_waiting(
            one,
            stalls.why_unserved(one.job, workers, unfit.get(one.job.job_id, ""), held_up.get(one.job.job_id, "")),
        )
        for one in unserved
    ]
    return Seen(of=("no_worker:",), alerts=alerts)


async def troubled_sources(records: Records, looking: Looking) -> Seen:
    """Watched sources that need a person."""
    # Its imports take a while.
    from antenna_orchestration.processing import watched_sources

    alerts = []
    for source, said in await watched_sources.troubled(records):
        number = source.source_id
        alerts.append(
            Alert(
                key=f"source:{number}",
                event=Event.SOURCE,
                project=source.project,
                subject=f"source {number} of deployment {named(source.deployment)} brings nothing",
                text=f"{said}\nWhat to do: `antenna sources show {number}` says more. When the cause is mended, "
                f"`antenna sources resume {number}` looks again at once; `antenna sources pause {number}` ends it.",
                path="/locations/antenna/sensors/new_captures",
            )
        )
    return Seen(of=("source:",), alerts=alerts)


async def silent_servers(records: Records, looking: Looking) -> Seen:
    """Servers that do not answer. Of PostgreSQL nothing can be told: what is told is recorded there."""
    alerts = []

    async def ask_queue() -> None:
        async with joined_by_queue(records):
            pass

    for name, ask in (("NATS", ask_queue), ("Redis", records.live.check)):
        try:
            await ask()
        except errors.Unavailable as error:
            alerts.append(
                Alert(
                    key=f"server:{name.lower()}",
                    event=Event.CHECK,
                    subject=f"{name} does not answer",
                    text=f"{error}\nWhat to do: see whether the server runs and can be reached from here. Jobs go on "
                    "by themselves when it is back.",
                )
            )
    return Seen(of=("server:",), alerts=alerts)


async def findings_of_seasons(records: Records, looking: Looking) -> Seen:
    """What is wrong with nights of any project, such as a silent trap; of the last two weeks."""
    global _seasons_looked_at  # noqa: PLW0603  rounds come one after the other
    now = time.monotonic()
    if Event.SEASON not in looking.wanted or now - _seasons_looked_at < SEASONS_EVERY:
        return Seen(of=(), alerts=())
    # Its imports take a while.
    from antenna_orchestration.answers import season
    from antenna_orchestration.processing import lake_watch

    # Also where it fails: what cannot be read now is not read each half minute.
    _seasons_looked_at = now
    found: list[Finding] = []
    unread: set[str] = set()
    opened = [alert for alert in looking.opened if alert.event is Event.SEASON]
    if not await lake_watch.answers(records):
        # Whoever reads from a drive that hangs would tell nobody of anything any more.
        return Seen(of=("season:",), alerts=opened)
    # While its only job is tried again, a project has no mark, and its findings are as before.
    projects = {one.project for one in await records.catalog.seasons.marks()} | {alert.project for alert in opened}
    for project in sorted(projects):
        try:
            found += await season.findings(records, project)
        except season.NotMade:
            unread.add(project)
        except Exception as error:
            unread.add(project)
            logger.warning("alerts, the season of %s cannot be read: %s", project, quoted(str(error), _REASON))
    new = {_key_of_finding(one): one for one in found if one.is_new(datetime.now(UTC))}
    old = {_key_of_finding(one) for one in found} - new.keys()
    return Seen(
        of=("season:",),
        alerts=[
            *(_of_finding(key, one) for key, one in new.items()),
            *(alert for alert in opened if alert.project in unread),
        ],
        # Old, but not well.
        dropped=[alert.key for alert in opened if alert.key in old],
    )


SOURCES: Final[Sequence[Source]] = (
    ended_jobs,
    unserved_jobs,
    troubled_sources,
    silent_servers,
    findings_of_seasons,
)
"""All that look in the stores. The sensor adds the verdicts of checks, which Dagster has."""

TOLD_ELSEWHERE: Final = frozenset({"workers", "sources"})
"""Health checks that say what a source above says with more patience, and for each pipeline or source."""


def of_check(name: str, details: str, meaning: str) -> Alert:
    """The alert of a health check that failed; `details` is what it found, in lines."""
    return Alert(
        key=f"check:{name}",
        event=Event.CHECK,
        subject=f"health check {name} fails",
        text=f"{details or meaning}\nWhat to do: `antenna health` checks again, and repairs what it can; "
        "docs/howto/when-something-is-wrong.md has more.",
        path="/assets/jobs_health?view=checks",
    )


def _key_of_finding(one: Finding) -> str:
    return f"season:{one.project}:{one.kind}:{one.deployment or ''}:{one.night}"


def _of_finding(key: str, one: Finding) -> Alert:
    what = one.kind.replace("_", " ")
    where = named(one.deployment) if one.deployment else f"project {one.project}"
    return Alert(
        key=key,
        event=Event.SEASON,
        project=one.project,
        subject=f"{what}: {where}, night {one.night}",
        text=f"{quoted(one.text, _REASON)}\nWhat it means: {KINDS[one.kind]} `antenna season --project {one.project}` "
        "shows all nights.",
        path="/assets/season?view=checks",
    )


def _of_waiting(kind: KindOfJobs, why: str) -> Alert:
    job = kind.job
    of_job = f"Job {job.job_id} ({named(job.name)})"
    waits = of_job if kind.jobs == 1 else f"{of_job} and {counted(kind.jobs - 1, 'other')} like it"
    since = duration((datetime.now(UTC) - stalls.waits_since(job)).total_seconds())
    return Alert(
        key=f"no_worker:{job.project}:{job.pipeline}",
        event=Event.NO_WORKER,
        project=job.project,
        subject=f"no worker for {job.pipeline} in {job.project}: {counted(kind.jobs, 'job')}",
        text=f"{waits}, {counted(kind.images, 'image')} in all, of project {job.project}: {quoted(why, _REASON)}. The "
        f"first waits for {since}.\nWhat to do: `antenna workers` shows the workers that are there, and `antenna jobs "
        f"show {job.job_id}` what the job waits for; `antenna worker` starts one. `antenna scale --dry-run` says why "
        "none is started.",
        path=_page_of(job),
    )


def _failed_job(key: str) -> tuple[JobId, Generation]:
    _, job, generation = key.split(":")
    return JobId(int(job)), Generation(int(generation))


def _is_over_unwell(job: Job | None, generation: Generation) -> bool:
    """Whether a job is wrong no more, and not because it was done: gone, canceled, failed anew, or long ago."""
    if job is None or job.status in (JobStatus.CANCELING, JobStatus.CANCELED):
        return True
    if job.status is not JobStatus.FAILURE:
        return False
    ended = job.finished_at or datetime.now(UTC)
    return job.generation != generation or datetime.now(UTC) - ended > FAILED_FOR


def _of_failure(job: Job, key: str = "") -> Alert:
    return Alert(
        key=key or f"{FAILURE_KEY}:{job.job_id}:{job.generation}",
        event=Event.JOB_FAILURE,
        project=job.project,
        subject=f"job {job.job_id} failed: {named(job.name)}",
        text=f"Job {job.job_id} ({named(job.name)}) of project {job.project}, {counted(job.total, 'image')} with "
        f"{job.pipeline}, ended as FAILURE: {quoted(job.status_reason or 'no reason is known', _REASON)}.\nWhat to do: "
        f"`antenna jobs show {job.job_id}` says why images failed, `antenna jobs logs {job.job_id}` what happened; "
        f"`antenna jobs retry {job.job_id}` tries again what failed.",
        path=_page_of(job),
    )


def _of_success(job: Job) -> Alert:
    return Alert(
        key=f"{SUCCESS_KEY}:{job.job_id}:{job.generation}",
        event=Event.JOB_SUCCESS,
        project=job.project,
        subject=f"job {job.job_id} is done: {named(job.name)}",
        text=f"Job {job.job_id} ({named(job.name)}) of project {job.project}, {counted(job.total, 'image')} with "
        f"{job.pipeline}, ended as SUCCESS.\n`antenna report --job {job.job_id}` shows what was found.",
        path=_page_of(job),
    )


def _page_of(job: Job) -> str:
    """Dagster's page of the job's run, or of its partition before there is one."""
    if job.run_id:
        return f"/runs/{job.run_id}"
    return f"/assets/manifest?view=partitions&partition={ids.partition_key(job.job_id)}"
