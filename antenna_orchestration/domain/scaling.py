"""How many workers to start where: one pure decision, from what waits, what runs, measured speeds and limits.

A worker works a second of device time per second, so that work that would take W seconds of one worker and is to be
done within T seconds needs W / T workers. What living workers can do is taken off first, whoever started them. What is
left is given to the pools in the order in which their file lists them, each up to its limits.

Two things keep workers from being started for too little: starting and leaving may cost only so much of the work that
there is (`Pool.overhead`), and one that is on its way counts as if it were there. Nothing is ever stopped: workers
leave by themselves when nothing waits. Only starts that still wait for a place themselves are taken back, when a fourth
more work than there is would not need them either, so that work about a limit neither starts nor cancels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.texts import counted

RETRY: Final = Backoff(first=15.0, longest=900.0)
"""Seconds until a pool is tried again, after so many starts in a row that ended badly before they worked."""

MARGIN: Final = 1.25
"""Times the work for which a start must be of no use before it is taken back."""

_NO_POOL: Final = 600.0
"""Seconds in which living workers are to do what no pool has workers for."""

_TINY: Final = 1e-9
_MANY: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The images of one job that nobody has finished."""

    job: int
    images: int
    # Seconds of one worker's time.
    seconds: float
    # Seconds from now by which they are wanted; None: in the time that a pool gives itself.
    due: float | None = None
    priority: int = 1
    # Living workers that serve the job, by name.
    workers: frozenset[str] = frozenset()
    # Pools of which a new worker would serve the job.
    pools: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Where workers can be started, and within which limits. Times are in seconds."""

    name: str
    # Workers at the same time, those on their way among them.
    most: int
    # What waits is to be done within this time, where no job is due earlier.
    finish_within: float = 600.0
    # From the start to the first image.
    cold_start: float = 20.0
    # How long a worker stays when nothing waits.
    idle_exit: float = 60.0
    # Share of the work that starting and leaving may cost; jobs that are due within `finish_within` may cost as much
    # as they have work.
    overhead: float = 0.25
    # Seconds of workers per day; None: no limit.
    budget: float | None = None
    # How long a start may wait for a place although it is of no use any more.
    cool_down: float = 60.0
    # Start one only for jobs that nobody serves.
    only_unserved: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A worker that was started and is not known to have ended."""

    start_id: str
    pool: str
    # For a place to run; it runs, and is to be heard; it is heard; it was heard, and leaves, or is cut off.
    state: Literal["waiting", "running", "heard", "silent"]
    # Seconds since it was asked for.
    age: float
    # Name of its worker.
    worker: str

    @property
    def is_coming(self) -> bool:
        """Whether its worker is on its way."""
        return self.state in ("waiting", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a pool did before."""

    # Starts in a row that ended badly before they worked, how long ago the last did, and why.
    failures: int = 0
    failed_ago: float = math.inf
    error: str = ""
    # Seconds that its workers ran in the last day.
    used: float = 0.0
    # Why nothing can be started there now; empty if something can.
    blocked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDecision:
    """What to do in one pool."""

    pool: str
    # Seconds of work that a worker of the pool could do.
    work: float
    heard: int
    on_their_way: int
    # Workers that the work needs here, before the limits.
    needed: int
    start: int
    cancel: tuple[str, ...]
    # Why so, in words; says what holds workers up that are needed.
    why: str
    # Whether it starts fewer than are needed.
    is_short: bool


def decide(
    demands: Sequence[Demand], pools: Sequence[Pool], starts: Sequence[Start], past: Mapping[str, Past]
) -> list[PoolDecision]:
    """What to do in each pool now. To be called again after each change; it does not remember."""
    limits = {pool.name: _limit_of(pool, demands, starts, past.get(pool.name, Past())) for pool in pools}
    need = _fill(demands, pools, starts, {name: limit.most for name, limit in limits.items()})
    unlimited = _fill(demands, pools, starts, dict.fromkeys(limits, _MANY))
    more = [replace(demand, seconds=demand.seconds * MARGIN) for demand in demands]
    generous = _fill(
        more,
        pools,
        starts,
        {pool.name: _limit_of(pool, more, starts, past.get(pool.name, Past())).most for pool in pools},
    )
    return [
        _decision(
            pool,
            demands=demands,
            starts=starts,
            limit=limits[pool.name],
            need=need[pool.name],
            unlimited=unlimited[pool.name],
            generous=generous[pool.name],
        )
        for pool in pools
    ]


@dataclass(frozen=True, slots=True)
class _Limit:
    # Workers of the pool, all together.
    most: int
    # What holds more of them up.
    why: str


def _limit_of(pool: Pool, demands: Sequence[Demand], starts: Sequence[Start], past: Past) -> _Limit:
    here = sum(1 for start in starts if start.pool == pool.name)
    if past.blocked:
        return _Limit(here, past.blocked)
    wait = RETRY.pause(past.failures) - past.failed_ago if past.failures else 0.0
    if wait > 0:
        times = counted(past.failures, "start") + (" in a row" if past.failures > 1 else "")
        return _Limit(here, f"{times} ended before it worked ({past.error}); tried again in {duration(wait)}")
    limit = _Limit(pool.most, f"at most {pool.most} (`most`)")
    if pool.budget is not None and past.used >= pool.budget:
        limit = _Limit(min(here, pool.most), f"its budget of {duration(pool.budget)} a day is used up")
    served = [demand for demand in demands if pool.name in demand.pools]
    is_urgent = [demand.due is not None and demand.due <= pool.finish_within for demand in served]
    seconds = sum(demand.seconds for demand, urgent in zip(served, is_urgent, strict=True) if not urgent)
    # What a deadline asks for may cost more; that others wait beside it is no reason to.
    urgent = sum(
        demand.seconds / _pace(pool, demand) for demand, urgent in zip(served, is_urgent, strict=True) if urgent
    )
    worth = math.floor(min(pool.overhead * seconds / _cost(pool), _MANY)) + _whole(min(urgent, _MANY))
    # One at least: however little waits, it is done.
    if max(1, worth) < limit.most:
        limit = _Limit(max(1, worth), "more would cost more to start than they save (`overhead`)")
    return limit


def _cost(pool: Pool) -> float:
    """Seconds of a worker that starting and leaving take."""
    return pool.cold_start + pool.idle_exit


def _fill(
    demands: Sequence[Demand], pools: Sequence[Pool], starts: Sequence[Start], most: Mapping[str, int]
) -> dict[str, float]:
    """Workers, in fractions, that each pool is to have on their way: those that are heard are taken off."""
    order = {pool.name: pool for pool in pools}
    free: dict[str, float] = {worker: 1.0 for demand in demands for worker in demand.workers}
    coming = Counter(start.pool for start in starts if start.is_coming)
    there = Counter(start.pool for start in starts if not start.is_coming)
    room = {name: max(most[name] - there[name], coming[name]) for name in order}
    filled = dict.fromkeys(order, 0.0)
    for demand in sorted(demands, key=lambda one: (one.due is None, one.due or 0.0, -one.priority, one.job)):
        reachable = [order[name] for name in order if name in demand.pools]
        # Seconds of work.
        left = demand.seconds
        pace = _pace(reachable[0], demand) if reachable else _NO_POOL
        for worker in sorted(demand.workers):
            used = min(left / pace, free[worker])
            free[worker] -= used
            left -= used * pace
        for pool in reachable:
            if left <= _TINY:
                break
            if pool.only_unserved and demand.workers:
                continue
            pace = _pace(pool, demand)
            used = min(left / pace, room[pool.name] - filled[pool.name])
            filled[pool.name] += used
            left -= used * pace
    return filled


def _pace(pool: Pool, demand: Demand) -> float:
    """Seconds of the demand's work that one worker of the pool does in time."""
    within = pool.finish_within if demand.due is None else min(pool.finish_within, demand.due)
    # Before a worker works it starts; those that serve the job work meanwhile.
    cold = 0.0 if demand.workers else pool.cold_start
    # However late it is, a worker works as long as its start and its leave cost: more would hardly be faster.
    return max(within - cold, _cost(pool))


def _decision(
    pool: Pool,
    *,
    demands: Sequence[Demand],
    starts: Sequence[Start],
    limit: _Limit,
    need: float,
    unlimited: float,
    generous: float,
) -> PoolDecision:
    here = [start for start in starts if start.pool == pool.name]
    coming = [start for start in here if start.is_coming]
    heard = len(here) - len(coming)
    room = max(0, limit.most - len(here))
    start = min(room, max(0, _whole(need) - len(coming)))
    surplus = len(coming) - max(_whole(generous), _whole(need))
    waiting = sorted((one for one in coming if one.state == "waiting"), key=lambda one: (one.age, one.start_id))
    cancel = tuple(one.start_id for one in waiting if one.age >= pool.cool_down)[: max(0, surplus)]
    is_short = _whole(unlimited) > len(coming) + start
    work = sum(demand.seconds for demand in demands if pool.name in demand.pools)
    others = sum(demand.seconds for demand in demands if pool.name not in demand.pools)
    nothing = "what waits is not for this pool" if others else "nothing waits"
    return PoolDecision(
        pool=pool.name,
        work=work,
        heard=heard,
        on_their_way=len(coming),
        needed=heard + _whole(unlimited),
        start=start,
        cancel=cancel,
        why=_why(work, coming, start, cancel, limit if is_short else None, nothing=nothing),
        is_short=is_short,
    )


def _whole(workers: float) -> int:
    return math.ceil(workers - _TINY)


def _why(
    work: float, coming: Collection[Start], start: int, cancel: Collection[str], limit: _Limit | None, *, nothing: str
) -> str:
    if not work and not coming:
        return nothing
    parts = [f"{duration(work)} of work" if work else nothing]
    if coming:
        parts.append(f"{counted(len(coming), 'worker')} on the way")
    if start:
        parts.append(f"starts {counted(start, 'worker')}")
    if cancel:
        parts.append(f"takes back {counted(len(cancel), 'start')} that is of no use any more")
    if limit:
        parts.append(limit.why)
    elif work and not start and not coming:
        parts.append("those that run are enough")
    return "; ".join(parts)
