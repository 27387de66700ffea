"""Turns of workers behind the gateway: the clocks of jobs, which all gateways share, and each worker's turns.

Nothing here is a record: what is lost costs only exactness of the shares, for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.domain.turns import Classes, Pace, Standing
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import translated

KEEP: Final = 7 * 24 * 3600
"""Seconds without a change after which they are forgotten."""

MOST: Final = 10_000
"""Workers whose turns a process remembers."""

MOST_TURNS: Final = 32
"""Jobs of which a worker's turns are known; on others a new turn begins."""

MOST_PIPELINES: Final = 200
"""Pipelines of which a worker's pace is known."""

_INTERACTIVE: Final = "interactive"
_OTHERS: Final = "others"


class Turn(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A worker's turn on a job. Times are in seconds by Redis' clock."""

    began: float
    # Device seconds leased in it.
    seconds: float = 0.0
    # When it was ended; 0 while it is not.
    over: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerTurns:
    """What is known of one worker's turns."""

    # How it last asked for jobs, as the gateway wrote it down, and when; empty and 0 when it never did.
    poll: str = ""
    polled: float = 0.0
    # The job that it was offered first then.
    offered: JobRun | None = None
    # Of late, by job: several processes that the gateway cannot tell apart may serve different ones.
    turns: Mapping[JobRun, Turn] = field(default_factory=dict)
    # When a turn was last ended, until the first results of the next one; 0 after that.
    cut: float = 0.0
    # Seconds that it needs to change jobs; None while unknown.
    switch: float | None = None
    # By pipeline.
    paces: Mapping[str, Pace] = field(default_factory=dict)

    def with_turn(self, job_run: JobRun, turn: Turn) -> WorkerTurns:
        """The same with this turn; the oldest of too many is forgotten."""
        latest = sorted({**self.turns, job_run: turn}.items(), key=lambda item: -item[1].began)
        return replace(self, turns=dict(latest[:MOST_TURNS]))


class HttpTurns:
    """Keeps clocks and turns. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    async def standings(self, job_runs: Iterable[JobRun]) -> tuple[dict[JobRun, Standing], Classes]:
        """Where the jobs stand, and the two classes."""
        wanted = list(job_runs)
        members = [keys.job_run_member(job_run) for job_run in wanted]
        fields = [_INTERACTIVE, _OTHERS, *members, *(_at(member) for member in members)]
        with translated("reading clocks"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(keys.CLOCKS, fields)
                for job_run in wanted:
                    pipe.hlen(keys.leases(job_run))
                values, *held = await pipe.execute()
        interactive, others, *rest = values
        clocks, times = rest[: len(wanted)], rest[len(wanted) :]
        found = {
            job_run: Standing(clock=None if clock is None else float(clock), held=count, at=float(at or 0))
            for job_run, clock, at, count in zip(wanted, clocks, times, held, strict=True)
        }
        return found, Classes(interactive=float(interactive or 0), others=float(others or 0))

    async def jobs(self) -> set[JobRun]:
        """The jobs that have a clock."""
        with translated("listing clocks"):
            names = await self._redis.hkeys(keys.CLOCKS)
        return {keys.job_run_of_member(name) for name in names if name.count(":") == 1}

    async def advance(self, job_run: JobRun, clock: float, *, seconds: float, interactive: bool, now: float) -> None:
        """Advance a job's clock, and that of its class by the device seconds."""
        member = keys.job_run_member(job_run)
        with translated("advancing a clock"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hincrbyfloat(keys.CLOCKS, member, clock)
                pipe.hincrbyfloat(keys.CLOCKS, _INTERACTIVE if interactive else _OTHERS, seconds)
                pipe.hset(keys.CLOCKS, _at(member), now)
                pipe.expire(keys.CLOCKS, KEEP)
                await pipe.execute()

    async def enter(self, clocks: Mapping[JobRun, float]) -> None:
        """Give newcomers their clocks; one that has a clock meanwhile keeps it."""
        with translated("entering jobs"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for job_run, clock in clocks.items():
                    pipe.hsetnx(keys.CLOCKS, keys.job_run_member(job_run), clock)
                pipe.expire(keys.CLOCKS, KEEP)
                await pipe.execute()

    async def shift(self, by: Mapping[JobRun, float], *, interactive: float = 0.0) -> None:
        """Shift clocks, and that of the interactive class."""
        shifts = {keys.job_run_member(job_run): seconds for job_run, seconds in by.items()}
        with translated("shifting clocks"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name, seconds in {**shifts, _INTERACTIVE: interactive}.items():
                    if seconds:
                        pipe.hincrbyfloat(keys.CLOCKS, name, seconds)
                pipe.expire(keys.CLOCKS, KEEP)
                await pipe.execute()

    async def forget(self, job_runs: Iterable[JobRun]) -> None:
        """Forget the clocks of jobs that are over."""
        members = [keys.job_run_member(job_run) for job_run in job_runs]
        if members:
            with translated("forgetting clocks"):
                await self._redis.hdel(keys.CLOCKS, *members, *(_at(member) for member in members))

    async def of_worker(self, worker: int) -> WorkerTurns:
        """A worker's turns; empty ones when there was none."""
        with translated("reading turns"):
            return _turns(await self._redis.hgetall(keys.turns(worker)))

    async def write(self, worker: int, turns: WorkerTurns, *, before: WorkerTurns) -> None:
        """Write down what changed. Of two gateways that do so at once, one is heard, and the turn is longer."""
        key, known = keys.turns(worker), _values(before)
        changed = {name: value for name, value in _values(turns).items() if value != known[name]}
        if not changed:
            return
        with translated("noting turns"):
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, mapping=changed)
                pipe.expire(key, KEEP)
                await pipe.execute()


class RememberedTurns:
    """`HttpTurns` as a gateway uses them, with a memory for while Redis is away. No method raises `Unavailable`."""

    def __init__(
        self,
        turns: HttpTurns,
        ask: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
        held: Callable[[JobRun], int],
    ) -> None:
        self._turns = turns
        # Raises `Unavailable`, at once while Redis is away.
        self._ask = ask
        # Tasks of a job in workers' hands, as far as is remembered.
        self._held = held
        self._clocks: dict[JobRun, Standing] = {}
        self._classes = Classes()
        # The one heard of last is the last.
        self._known: dict[int, WorkerTurns] = {}
        # Workers whose turns changed while Redis was away.
        self._missed: set[int] = set()
        self._changing: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def standings(self, job_runs: Iterable[JobRun]) -> tuple[dict[JobRun, Standing], Classes]:
        """Where the jobs stand, and the two classes."""
        wanted = list(job_runs)
        try:
            found: dict[JobRun, Standing]
            found, self._classes = await self._ask(lambda: self._turns.standings(wanted))
        except errors.Unavailable:
            return {
                one: replace(self._clocks.get(one, Standing()), held=self._held(one)) for one in wanted
            }, self._classes
        self._clocks |= {job_run: one for job_run, one in found.items() if one.clock is not None}
        return found, self._classes

    async def jobs(self) -> set[JobRun]:
        """The jobs that have a clock."""
        try:
            found: set[JobRun] = await self._ask(self._turns.jobs)
        except errors.Unavailable:
            return set(self._clocks)
        return found

    async def advance(self, job_run: JobRun, clock: float, *, seconds: float, interactive: bool, now: float) -> None:
        """Advance a job's clock, and that of its class by the device seconds."""
        before = self._clocks.get(job_run, Standing())
        self._clocks[job_run] = replace(before, clock=(before.clock or 0.0) + clock, at=now)
        self._classes = Classes(
            interactive=self._classes.interactive + seconds * interactive,
            others=self._classes.others + seconds * (not interactive),
        )
        await self._quietly(
            lambda: self._turns.advance(job_run, clock, seconds=seconds, interactive=interactive, now=now)
        )

    async def enter(self, clocks: Mapping[JobRun, float]) -> None:
        """Give newcomers their clocks; one that has a clock meanwhile keeps it."""
        for job_run, clock in clocks.items():
            self._clocks.setdefault(job_run, Standing(clock=clock))
        await self._quietly(lambda: self._turns.enter(clocks))

    async def shift(self, by: Mapping[JobRun, float], *, interactive: float = 0.0) -> None:
        """Shift clocks, and that of the interactive class."""
        for job_run, seconds in by.items():
            before = self._clocks.get(job_run, Standing())
            self._clocks[job_run] = replace(before, clock=(before.clock or 0.0) + seconds)
        self._classes = replace(self._classes, interactive=self._classes.interactive + interactive)
        await self._quietly(lambda: self._turns.shift(by, interactive=interactive))

    def changing(self, worker: int) -> asyncio.Lock:
        """A lock to hold while this process reads and changes a worker's turns."""
        lock = self._changing.get(worker)
        if lock is None:
            lock = self._changing[worker] = asyncio.Lock()
        return lock

    def is_known(self, job_run: JobRun) -> bool:
        """Whether the job had a clock when it was last looked at."""
        return job_run in self._clocks

    async def forget(self, job_runs: Iterable[JobRun]) -> None:
        """Forget the clocks of jobs that are over."""
        over = list(job_runs)
        for job_run in over:
            self._clocks.pop(job_run, None)
        await self._quietly(lambda: self._turns.forget(over))

    async def of_worker(self, worker: int) -> WorkerTurns:
        """A worker's turns; empty ones when there was none."""
        try:
            found: WorkerTurns = await self._ask(lambda: self._turns.of_worker(worker))
        except errors.Unavailable:
            return self._known.get(worker, WorkerTurns())
        known = self._known.get(worker)
        if known is not None and (found.polled < known.polled or found == WorkerTurns()):
            # Redis has lost its data, and perhaps this process has already written there what changed since.
            found = replace(known, turns={**known.turns, **found.turns})
        self._remember(worker, found)
        return found

    async def write(self, worker: int, turns: WorkerTurns, *, before: WorkerTurns) -> None:
        """Write down what changed of a worker's turns."""
        self._remember(worker, turns)
        try:
            await self._ask(lambda: self._turns.write(worker, turns, before=before))
        except errors.Unavailable:
            self._missed.add(worker)

    async def write_down(self, *, everything: bool) -> None:
        """Write to Redis what it missed, or all that is remembered; clocks that are further there stay.

        Raises `Unavailable`.
        """
        known = {job_run: one.clock for job_run, one in self._clocks.items() if one.clock is not None}
        mine = self._classes
        there, classes = await self._turns.standings(known)
        behind = {job_run: clock - (there[job_run].clock or 0.0) for job_run, clock in known.items()}
        await self._turns.shift(
            {job_run: seconds for job_run, seconds in behind.items() if seconds > 0},
            interactive=(mine.interactive - mine.others) - (classes.interactive - classes.others),
        )
        if everything:
            self._missed |= self._known.keys()
        while self._missed:
            worker = next(iter(self._missed))
            turns = self._known.get(worker, WorkerTurns())
            # A gateway that heard the worker later knows better.
            if (await self._turns.of_worker(worker)).polled <= turns.polled:
                await self._turns.write(worker, turns, before=WorkerTurns())
            if self._known.get(worker, WorkerTurns()) == turns:
                self._missed.discard(worker)

    def _remember(self, worker: int, turns: WorkerTurns) -> None:
        self._known.pop(worker, None)
        self._known[worker] = turns
        if len(self._known) > MOST:
            forgotten = next(iter(self._known))
            del self._known[forgotten]
            self._missed.discard(forgotten)

    async def _quietly(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._ask(write)
        except errors.Unavailable:
            # Remembered only.
            return


def _at(member: str) -> str:
    return f"{member}:at"


def _values(turns: WorkerTurns) -> dict[str, str]:
    paces = {slug: (one.seconds, one.images, one.latency) for slug, one in [*turns.paces.items()][-MOST_PIPELINES:]}
    return {
        "poll": turns.poll,
        "polled": str(turns.polled),
        "offered": keys.job_run_member(turns.offered) if turns.offered is not None else "",
        "turns": msgspec.json.encode({keys.job_run_member(one): turn for one, turn in turns.turns.items()}).decode(),
        "cut": str(turns.cut),
        "switch": "" if turns.switch is None else str(turns.switch),
        "paces": msgspec.json.encode(paces).decode(),
    }


def _turns(values: Mapping[str, str]) -> WorkerTurns:
    try:
        paces = msgspec.json.decode(values.get("paces", "{}"), type=dict[str, tuple[float, float, float]])
        found = msgspec.json.decode(values.get("turns", "{}"), type=dict[str, Turn])
    except msgspec.DecodeError as error:
        raise errors.InternalError(f"the turns of a worker in Redis cannot be read: {error}") from error
    return WorkerTurns(
        poll=values.get("poll", ""),
        polled=float(values.get("polled", 0)),
        offered=keys.job_run_of_member(values["offered"]) if values.get("offered") else None,
        turns={keys.job_run_of_member(member): turn for member, turn in found.items()},
        cut=float(values.get("cut", 0)),
        switch=float(values["switch"]) if values.get("switch") else None,
        paces={
            slug: Pace(seconds=seconds, images=images, latency=latency)
            for slug, (seconds, images, latency) in paces.items()
        },
    )
