"""One round of starting workers: see what waits and what runs, decide, act. The rule is `domain/scaling.py`."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import median
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog.worker_starts import OpenStart
from antenna_orchestration.domain import reach, scaling, stalls
from antenna_orchestration.domain.ids import Generation, JobId, JobRun, ProjectId
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.domain.scaling import Demand, Past, PoolDecision, Start
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pools import configuration
from antenna_orchestration.pools.command import CommandLauncher
from antenna_orchestration.pools.configuration import AnyPool, CommandPool, DagsterPool, PoolSettings, SlurmPool
from antenna_orchestration.pools.launcher import Asked, Launcher, Seen, Undecided
from antenna_orchestration.pools.slurm import SlurmLauncher
from antenna_orchestration.processing import served_here
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.tasks import Waiting
from antenna_orchestration.settings import Settings

logger = logging.getLogger(__name__)

HERE: Final = "here"
"""The pool that there is without a file of pools: runs on this machine."""

OUTSIDE: Final = "outside"
"""The pool of workers that somebody else starts, by a figure that we give."""

OWN_LOCATION: Final = "antenna"

TOLD_WITHIN: Final = 120.0
"""Seconds for which a pool's decision is told; nobody looks after it any more, if there is no newer one."""

HEARD_WITHIN: Final = 600.0
"""Seconds in which the worker of a start that runs is expected; later it does not count as being on its way."""

AT_ONCE: Final = 8
"""Most starts and cancellations of a pool in one round: a sensor's tick may take a minute."""

CHANGED: Final = 0.1
"""Share by which a measured speed must differ from the one on record to replace it."""

SLOWEST: Final = 86_400.0
"""Seconds per image that are believed; one worker's nonsense would start workers without end."""

_STARTED: Final = re.compile(r"(.+)-[0-9a-f]{8}")
"""Names of started workers, as `_act` makes them."""

_MOST_JOBS: Final = 100_000
_FIRST: Final = Generation(1)
_ANYWHERE: Final = ("http", "s3:*")


def pools_of(settings: Settings) -> dict[str, AnyPool]:
    """The pools of the deployment, in the order in which they are filled. Raises `InvalidSetting`."""
    if not settings.autoscale:
        return {}
    if settings.worker_pools:
        return configuration.read(settings.worker_pools)
    # The settings have no upper bounds.
    most = min(settings.autoscale_max_workers, configuration.MOST)
    idle_exit = min(settings.worker_idle_exit, configuration.LONGEST)
    here = DagsterPool(kind="dagster", most=most, idle_exit_seconds=idle_exit, only_unserved=most == 1)
    return {HERE: here} if most else {}


def launchers_of(pools: Mapping[str, AnyPool]) -> dict[str, Launcher]:
    """The launchers of those pools that do not need Dagster."""
    return {
        name: SlurmLauncher(pool) if isinstance(pool, SlurmPool) else CommandLauncher(pool)
        for name, pool in pools.items()
        if isinstance(pool, SlurmPool | CommandPool)
    }


@dataclass(frozen=True, slots=True)
class Round:
    """What one round saw, decided and did."""

    decisions: list[PoolDecision]
    # Why single starts or cancellations did not come about, by pool.
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """What waits, and who works."""

    # Slugs of the pipelines that workers of this installation serve.
    pipelines: frozenset[str]
    # Active jobs of these that are not forbidden to their workers.
    jobs: list[Job]
    workers: list[Heartbeat]
    backlog: Mapping[JobRun, Waiting]
    # Seconds per image, by pool and pipeline: on record, and as measured now.
    known: Mapping[tuple[str, str], float]
    measured: Mapping[tuple[str, str], float]
    now: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, and for how many workers."""

    images: int
    # Of one worker's time.
    seconds: float
    # That do it in time, all together: those that are there among them.
    workers: int


@dataclass(frozen=True, slots=True)
class _Observed:
    demands: list[Demand]
    starts: list[Start]
    # The same as their engines know them, by id.
    asked: dict[str, Asked]
    past: dict[str, Past]
    # What engines say about starts that wait, by pool.
    notes: dict[str, str]
    ended: dict[str, str]
    heard: list[str]
    worked: list[str]
    # Why workers that are heard do nothing for what waits, by start.
    useless: dict[str, str]
    running: list[str]
    speeds: dict[tuple[str, str], float]


async def explained(services: Services, pools: Mapping[str, AnyPool], launchers: Mapping[str, Launcher]) -> Round:
    """What a round would do now; nothing is started, canceled or recorded. Raises `Unavailable`."""
    observed = await _observe(services, pools, launchers)
    return Round(_decided(pools, observed))


async def round_(
    services: Services,
    pools: Mapping[str, AnyPool],
    launchers: Mapping[str, Launcher],
    *,
    blocked: Mapping[str, str] | None = None,
) -> Round | None:
    """Decide for the pools that have a launcher, and act; None when another process is at it. Raises `Unavailable`.

    `blocked` says of pools why nothing can be started there. If the process dies half-way, the next round finds what
    was started by its id, and counts what was not as a start that ended.
    """
    async with services.catalog.worker_starts.lock() as is_ours:
        if not is_ours:
            return None
        observed = await _observe(services, pools, launchers)
        for pool, reason in (blocked or {}).items():
            observed.past[pool] = replace(observed.past.get(pool, Past()), blocked=reason)
        await _record(services, observed)
        decisions = [one for one in _decided(pools, observed) if one.pool in launchers]
        faults: dict[str, str] = {}
        # At once: each may take as long as a command may, and a sensor's tick has a minute for all.
        acts = (_act(services, one, launchers[one.pool], observed.asked) for one in decisions)
        # All are over before the lock goes, whatever becomes of one.
        answers = await asyncio.gather(*acts, return_exceptions=True)
        for decision, fault in zip(decisions, answers, strict=True):
            if isinstance(fault, BaseException):
                raise fault
            if fault:
                faults[decision.pool] = fault
        told = [
            replace(one, why=f"{one.why}; {faults[one.pool]}", is_short=True) if one.pool in faults else one
            for one in decisions
        ]
        await services.catalog.worker_starts.note_decisions(told)
        return Round(decisions, faults)


async def look(services: Services, pools: Container[str] = ()) -> Scene:
    """What waits and who works now; `pools` are the names of those whose workers' speeds are kept apart.

    Raises `Unavailable`.
    """
    pipelines = frozenset((await asyncio.to_thread(registry.read, services.settings.pipeline_paths)).pipelines)
    jobs = await services.catalog.jobs.list(statuses=ACTIVE, limit=_MOST_JOBS)
    workers = await services.heartbeats.workers()
    asked = [
        job
        for job in jobs
        if served_here.is_for_workers_here(job, pipelines) and not stalls.why_forbidden(job, workers)
    ]
    return Scene(
        pipelines=pipelines,
        jobs=asked,
        workers=workers,
        backlog=await services.queue.backlog() if asked else {},
        known=await services.catalog.worker_starts.speeds(),
        measured=_measured(workers, pools),
        now=await services.catalog.now(),
    )


def backlog_outside(
    scene: Scene,
    *,
    pipelines: Container[str],
    scope: Container[ProjectId] | None,
    reaches: Sequence[str],
    within: float,
) -> Backlog:
    """What waits for workers that somebody else starts, and how many would do it within so many seconds.

    They serve these pipelines and load from what `reaches` says. Jobs of projects beyond `scope` do not count; nor do
    those that the workers which are there cannot serve, since more of them would do no better.
    """
    pool = PoolSettings(most=10_000, reaches=tuple(reaches), finish_within_minutes=within / 60)
    jobs = [
        job
        for job in scene.jobs
        if job.pipeline in pipelines
        and (scope is None or job.project_id in scope)
        and (reach.some_serve(scene.workers, job) or not reach.why_not(scene.workers, job))
        and reach.covers(pool.reaches or _ANYWHERE, job.source_kinds)
    ]
    demands = _demands(replace(scene, jobs=jobs), {OUTSIDE: pool}, fit={job.job_id: [OUTSIDE] for job in jobs})
    # Nobody is taken off: who scales wants to know how many there are to be.
    of_all = [replace(demand, workers=frozenset()) for demand in demands]
    [decision] = scaling.decide(of_all, [pool.limits(OUTSIDE)], [], {})
    return Backlog(
        images=sum(demand.images for demand in demands),
        seconds=sum(demand.seconds for demand in demands),
        workers=decision.start,
    )


async def forget_here(services: Services, *, but: Container[str]) -> None:
    """Let the starts on this machine be over whose runs ended with an earlier stack: it was not their fault.

    `but` are starts whose runs go on, as Slurm jobs do.
    """
    try:
        here = {name for name, pool in pools_of(services.settings).items() if _is_here(pool)}
    except errors.InvalidSetting as error:
        logger.warning("%s", error)
        return
    starts = services.catalog.worker_starts
    over = [one.start_id for one in await starts.open() if one.pool in here and one.start_id not in but]
    await starts.end(dict.fromkeys(over, ""))


async def why_not_started(services: Services, jobs: Sequence[Job]) -> dict[JobId, str]:
    """What holds up the workers that could be started for jobs, as a clause; nothing of jobs that wait for none."""
    try:
        pools = pools_of(services.settings)
    except errors.InvalidSetting as error:
        return {job.job_id: f"none can be started: {error}" for job in jobs}
    if not jobs or not pools:
        return {}
    ours = (await asyncio.to_thread(registry.read, services.settings.pipeline_paths)).pipelines
    states = [state for state in await services.catalog.worker_starts.states(within=TOLD_WITHIN) if state.is_waited_for]
    told: dict[JobId, str] = {}
    for job in jobs:
        of_job = [
            f"pool {state.pool}: {state.why}"
            for state in states
            if served_here.is_for_workers_here(job, ours)
            and state.pool in pools
            and _is_for(pools[state.pool], job, services.settings)
        ]
        if of_job:
            told[job.job_id] = "; ".join(of_job)
    return told


# Seeing.


async def _observe(services: Services, pools: Mapping[str, AnyPool], launchers: Mapping[str, Launcher]) -> _Observed:
    starts = services.catalog.worker_starts
    scene = await look(services, pools)
    workers = scene.workers
    open_starts = await starts.open()
    past = await starts.past()
    heard = {worker.worker for worker in workers}
    seen, silent = await _look(open_starts, heard, launchers)
    for pool, reason in silent.items():
        past[pool] = replace(past.get(pool, Past()), blocked=reason)
    ended = {
        one.start_id: seen[one.start_id].note
        for one in open_starts
        if one.start_id in seen and seen[one.start_id].state == "gone" and one.start_id not in heard
    }
    there = [one for one in open_starts if one.start_id not in ended]
    runs = {worker.run_id for worker in workers}
    # Each counts in one pool, though several may start workers in the same place.
    others = {
        one: pool
        for pool, launcher in reversed([*launchers.items()])
        if pool not in silent
        for one in await launcher.others(runs)
    }
    of_people = [Start(start_id=one, pool=pool, state="running", age=0.0, worker="") for one, pool in others.items()]
    return _Observed(
        demands=_demands(scene, pools, fit=await _fit(services, scene, pools)),
        starts=[*(_start(one, seen.get(one.start_id), workers) for one in there), *of_people],
        asked={one.start_id: _asked(one, heard) for one in there},
        past=past,
        notes=_notes(there, seen),
        ended=ended,
        useless=_useless(scene, pools, services.settings),
        heard=[one.start_id for one in open_starts if one.start_id in heard],
        worked=[worker.worker for worker in workers if worker.done + worker.failed],
        running=[one.start_id for one in there if one.start_id in seen and seen[one.start_id].state == "running"],
        speeds={
            key: seconds
            for key, seconds in scene.measured.items()
            if key not in scene.known or abs(seconds - scene.known[key]) > CHANGED * scene.known[key]
        },
    )


async def _look(
    open_starts: Sequence[OpenStart], heard: Collection[str], launchers: Mapping[str, Launcher]
) -> tuple[dict[str, Seen], dict[str, str]]:
    """What became of the starts, by id; and of pools whose engine does not answer, why."""
    of_pool: defaultdict[str, list[Asked]] = defaultdict(list)
    for one in open_starts:
        of_pool[one.pool].append(_asked(one, heard))
    asked = [(pool, launchers[pool].look(starts)) for pool, starts in of_pool.items() if pool in launchers]
    answers = await asyncio.gather(*(answer for _, answer in asked), return_exceptions=True)
    seen: dict[str, Seen] = {}
    silent: dict[str, str] = {}
    for (pool, _), answer in zip(asked, answers, strict=True):
        if isinstance(answer, errors.Unavailable):
            silent[pool] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            seen |= answer
    return seen, silent


def _asked(one: OpenStart, heard: Collection[str]) -> Asked:
    return Asked(
        start_id=one.start_id,
        handle=one.handle,
        age=one.age,
        was_heard=one.was_heard,
        is_heard=one.start_id in heard,
    )


def _start(one: OpenStart, seen: Seen | None, workers: Sequence[Heartbeat]) -> Start:
    worker = next((worker for worker in workers if worker.worker == one.start_id), None)
    if worker is not None:
        state = "silent" if worker.state in ("draining", "lost") else "heard"
    elif seen is not None and seen.state == "waiting":
        # Also one that Slurm put back into its queue, from a node that died.
        state = "waiting"
    else:
        state = "silent" if one.was_heard or one.running_for > HEARD_WITHIN else "running"
    return Start(start_id=one.start_id, pool=one.pool, state=state, age=one.age, worker=one.start_id)  # type: ignore[arg-type]


def _notes(open_starts: Sequence[OpenStart], seen: Mapping[str, Seen]) -> dict[str, str]:
    """What the engine says about the start of each pool that has waited longest."""
    notes: dict[str, str] = {}
    for one in open_starts:
        if one.start_id in seen and not one.was_heard and seen[one.start_id].note:
            notes.setdefault(one.pool, seen[one.start_id].note)
    return notes


def _measured(workers: Sequence[Heartbeat], pools: Container[str]) -> dict[tuple[str, str], float]:
    """Seconds per image that living workers measured, by pool and pipeline."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for worker in workers:
        pool = _pool_of(worker.worker)
        for pipeline, seconds in (worker.seconds or {}).items():
            if pipeline in worker.pipelines and 0 < seconds <= SLOWEST:
                found[pool if pool in pools else "", pipeline].append(seconds)
    return {key: median(seconds) for key, seconds in found.items()}


async def _fit(services: Services, scene: Scene, pools: Mapping[str, AnyPool]) -> dict[JobId, list[str]]:
    """Pools of which a new worker would serve a job."""
    waiting = [job for job in scene.jobs if _waiting(job, scene.backlog)]
    unfit = await served_here.why_not(services, waiting) if any(map(_is_here, pools.values())) else {}
    fit: dict[JobId, list[str]] = {}
    for job in waiting:
        useless = {pool for one in scene.workers for pool in _useless_pools(one, job, pools)}
        fit[job.job_id] = [
            name
            for name, pool in pools.items()
            if _is_for(pool, job, services.settings)
            and name not in useless
            and not (_is_here(pool) and job.job_id in unfit)
        ]
    return fit


def _demands(scene: Scene, pools: Mapping[str, PoolSettings], *, fit: Mapping[JobId, Collection[str]]) -> list[Demand]:
    demands = []
    for job in scene.jobs:
        images = _waiting(job, scene.backlog)
        if not images:
            continue
        serving = [one for one in scene.workers if reach.can_serve(one, job) and one.state not in ("draining", "lost")]
        demands.append(
            Demand(
                job=job.job_id,
                images=images,
                seconds=images * _seconds(job, pools, fit[job.job_id], {**scene.known, **scene.measured}),
                due=_due(job, scene.now),
                priority=job.priority,
                workers=frozenset(one.worker for one in serving),
                pools=frozenset(fit[job.job_id]),
            )
        )
    return demands


def _waiting(job: Job, backlog: Mapping[JobRun, Waiting]) -> int:
    """Images that nobody has finished, as the queue knows them, and those that are not on the queue yet.

    Of a retry the latter are not counted: it is not known how many of them there are until its run has published them.
    """
    counts = backlog.get(job.job_run)
    queued = counts.queued + counts.leased if counts else 0
    return queued + (max(0, job.total - job.published_upto) if job.generation == _FIRST else not queued)


def _seconds(
    job: Job, pools: Mapping[str, PoolSettings], fit: Collection[str], speeds: Mapping[tuple[str, str], float]
) -> float:
    """Seconds of a worker's time per image: as measured in these pools, else anywhere, else the pools' guess."""
    measured = {pool: seconds for (pool, pipeline), seconds in speeds.items() if pipeline == job.pipeline}
    near = [seconds for pool, seconds in measured.items() if pool in fit]
    if found := near or [*measured.values()]:
        return median(found)
    return min((pools[name].seconds_per_image for name in fit), default=1.0)


def _due(job: Job, now: datetime) -> float | None:
    return None if job.due_at is None else max(0.0, (job.due_at - now).total_seconds())


def _is_here(pool: AnyPool) -> bool:
    return isinstance(pool, DagsterPool) and pool.location == OWN_LOCATION


def _is_for(pool: AnyPool, job: Job, settings: Settings) -> bool:
    reaches = pool.reaches or (settings.loadable_sources if _is_here(pool) else _ANYWHERE)
    return (not pool.pipelines or job.pipeline in pool.pipelines) and reach.covers(reaches, job.source_kinds)


def _useless_pools(worker: Heartbeat, job: Job, pools: Mapping[str, AnyPool]) -> Collection[str]:
    """The pools of a worker that does nothing for the job: another would do no better.

    It cannot load the pipeline, leaves the job alone, or began after the job was submitted and still does not serve it,
    such as one of an earlier release without the pipeline.
    """
    pool = _pool_of(worker.worker)
    if job.pipeline in worker.failing or str(job.job_id) in worker.refused:
        if pool in pools:
            return [pool]
        return [name for name in pools if _is_here(pools[name])] if worker.host == socket.gethostname() else []
    is_ready = worker.state not in ("loading", "draining", "lost", "waiting")
    # Those that began earlier may not know what was installed since.
    if pool in pools and is_ready and worker.started_at > job.created_at and not reach.can_serve(worker, job):
        return [pool]
    return []


def _useless(scene: Scene, pools: Mapping[str, AnyPool], settings: Settings) -> dict[str, str]:
    """Why started workers serve nothing of what waits for their pool: unbounded, one would follow the other."""
    waiting = [job for job in scene.jobs if _waiting(job, scene.backlog)]
    found: dict[str, str] = {}
    for worker in scene.workers:
        pool = _pool_of(worker.worker)
        jobs = [job for job in waiting if pool in pools and _is_for(pools[pool], job, settings)]
        if any(reach.can_serve(worker, job) for job in jobs):
            continue
        if job := next((job for job in jobs if pool in _useless_pools(worker, job, pools)), None):
            why = worker.refused.get(str(job.job_id)) or worker.failing.get(job.pipeline) or "it does not serve it"
            found[worker.worker] = f"job {job.job_id} is left alone: {why}"
    return found


def _pool_of(worker: str) -> str:
    """The pool that a worker was started in, by its name; empty for one that others started."""
    found = _STARTED.fullmatch(worker)
    return found[1] if found else ""


# Deciding and acting.


def _decided(pools: Mapping[str, AnyPool], observed: _Observed) -> list[PoolDecision]:
    limits = [pool.limits(name) for name, pool in pools.items()]
    decisions = scaling.decide(observed.demands, limits, observed.starts, observed.past)
    return [
        replace(one, why=f"{one.why}; {observed.notes[one.pool]}") if one.pool in observed.notes else one
        for one in decisions
    ]


async def _record(services: Services, observed: _Observed) -> None:
    starts = services.catalog.worker_starts
    if observed.heard:
        await starts.hear(observed.heard, observed.worked)
    if observed.useless:
        await starts.note_useless(observed.useless)
    if observed.running:
        await starts.note_running(observed.running)
    if observed.ended:
        await starts.end(observed.ended)
    if observed.speeds:
        await starts.note_speeds(observed.speeds)


async def _act(services: Services, decision: PoolDecision, launcher: Launcher, asked: Mapping[str, Asked]) -> str:
    """Start and cancel; returns why that did not come about as a whole, empty if it did."""
    starts = services.catalog.worker_starts
    ids = [f"{decision.pool}-{secrets.token_hex(4)}" for _ in range(min(decision.start, AT_ONCE))]
    if ids:
        await starts.add(decision.pool, ids)
    answers = await asyncio.gather(*map(launcher.start, ids), return_exceptions=True)
    failed: dict[str, str] = {}
    first = ""
    for start_id, answer in zip(ids, answers, strict=True):
        if isinstance(answer, Undecided):
            # It may have started, and then counts as being on its way; if not, it will not be there.
            first = first or str(answer)
        elif isinstance(answer, errors.Unavailable):
            first = first or str(answer)
            failed[start_id] = str(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            await starts.note_handle(start_id, answer)
    if first:
        await starts.end(failed)
        logger.warning("pool %s: a worker could not be started: %s", decision.pool, first)
        return first
    canceled = (launcher.cancel(asked[start_id]) for start_id in decision.cancel[:AT_ONCE])
    answered = await asyncio.gather(*canceled, return_exceptions=True)
    for fault in answered:
        if isinstance(fault, errors.Unavailable):
            logger.warning("pool %s: a start could not be taken back: %s", decision.pool, fault)
            first = str(fault)
        elif isinstance(fault, BaseException):
            raise fault
    return first
