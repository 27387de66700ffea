"""What a gateway remembers of Redis, and goes by while Redis is away or has lost its data.

Each process that leases for HTTP workers has one memory, of the leases and workers as it last read or wrote them. While
Redis answers, Redis decides, since other gateways write there, too. While it does not, the memory does: leases are
given, extended and struck out there, and written to Redis once it is back. Nothing here is a record: what is forgotten,
or known to one gateway only, costs repeated work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain.http_lease import HttpWorkerSpeed
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.live.leases import HttpLeases, KeptLease
from antenna_orchestration.live.reports import RememberedReports
from antenna_orchestration.live.scripts import NOBODY
from antenna_orchestration.live.store import LiveStore
from antenna_orchestration.live.turns import RememberedTurns
from antenna_orchestration.live.workers import HttpWorkers, WorkerRecord, unheard

T = TypeVar("T")

logger = logging.getLogger(__name__)

PATIENCE: Final = 2.0
"""Seconds that one question to Redis may take, however often the library tries again."""

LOOK_EVERY: Final = 1.0
"""Seconds between looks whether Redis is back."""


class _Reach:
    """Whether Redis can be reached: a circuit breaker."""

    def __init__(self, on_away: Callable[[], None]) -> None:
        # From the first failure until all that was missed is written down.
        self.is_away = False
        self._on_away = on_away

    async def ask(self, act: Callable[[], Awaitable[T]]) -> T:
        """Let Redis do something. Raises `Unavailable`, at once while Redis is away."""
        if self.is_away:
            raise errors.Unavailable("Redis is away")
        try:
            async with asyncio.timeout(PATIENCE):
                return await act()
        except (errors.Unavailable, TimeoutError) as error:
            if not self.is_away:
                self.is_away = True
                why = str(error) or "Redis is silent"
                logger.warning("going by what this process remembers of HTTP workers: %s", why)
                self._on_away()
            raise errors.Unavailable("Redis is away") from error


class RememberedLeases:
    """`HttpLeases`, with a memory. No method raises `Unavailable`."""

    def __init__(self, leases: HttpLeases, reach: _Reach) -> None:
        self._leases = leases
        self._reach = reach
        self._known: dict[JobRun, dict[ImageId, KeptLease]] = {}
        # Leases that changed while Redis was away, with their holder before that.
        self._missed: dict[JobRun, dict[ImageId, int]] = {}
        # Redis' clock minus ours.
        self._ahead: float | None = None

    async def now(self) -> float:
        """Seconds by Redis' clock, as far as it is known."""
        try:
            now = await self._reach.ask(self._leases.now)
        except errors.Unavailable:
            return time.time() if self._ahead is None else time.monotonic() + self._ahead
        self._ahead = now - time.monotonic()
        return now

    async def hold(self, job_run: JobRun, holder: int, kept: Mapping[ImageId, KeptLease], *, now: float) -> None:
        """Write leases down, confirmed now; an earlier holder of the same image loses it."""
        if not kept:
            return
        known = self._known.setdefault(job_run, {})
        before = {image: known[image].holder if image in known else holder for image in kept}
        known.update({image: msgspec.structs.replace(lease, confirmed=now) for image, lease in kept.items()})
        await self._write(job_run, before, lambda: self._leases.hold(job_run, holder, kept, now=now))

    async def take(self, job_run: JobRun, holder: int, images: Iterable[ImageId]) -> dict[ImageId, KeptLease]:
        """Strike out those of the images that this holder has, and return them.

        Of two callers, one gets an image; without Redis both may. The queue ignores the second hand-back.
        """
        wanted = list(images)
        known = self._known.get(job_run, {})
        remembered = {image: known[image] for image in wanted if image in known and known[image].holder == holder}
        for image in remembered:
            del known[image]
        try:
            return await self._reach.ask(lambda: self._leases.take(job_run, holder, wanted))
        except errors.Unavailable:
            self._miss(job_run, dict.fromkeys(remembered, holder))
            return remembered

    async def find(self, job_run: JobRun, images: Iterable[ImageId]) -> dict[ImageId, KeptLease]:
        """The leases on the images, without parked tasks."""
        wanted = list(images)
        known = self._known.get(job_run, {})
        return await self._read(
            lambda: self._leases.find(job_run, wanted),
            lambda: {image: known[image] for image in wanted if image in known and known[image].holder != NOBODY},
        )

    async def take_parked(self, job_run: JobRun) -> tuple[ImageId, KeptLease] | None:
        """Take one parked task of the job out; None when there is none."""
        try:
            taken = await self._reach.ask(lambda: self._leases.take_parked(job_run))
        except errors.Unavailable:
            for image in self._parked(job_run):
                if struck_out := await self.take(job_run, NOBODY, [image]):
                    return next(iter(struck_out.items()))
            return None
        if taken is not None:
            self._known.get(job_run, {}).pop(taken[0], None)
        return taken

    async def has_parked(self, job_run: JobRun) -> bool:
        """Whether a task of the job waits to be leased singly."""
        return await self._read(lambda: self._leases.has_parked(job_run), lambda: bool(self._parked(job_run)))

    async def held_by(self, worker: int) -> int:
        """How many tasks the worker holds."""
        return await self._read(lambda: self._leases.held_by(worker), lambda: self._holding()[worker])

    async def held_by_each(self, workers: Sequence[int]) -> Mapping[int, int]:
        """The same of several workers."""
        return await self._read(lambda: self._leases.held_by_each(workers), self._holding)

    async def of_worker(self, worker: int) -> dict[JobRun, list[ImageId]]:
        """The images that the worker holds."""

        def remembered() -> dict[JobRun, list[ImageId]]:
            held = {
                job_run: [image for image, lease in known.items() if lease.holder == worker]
                for job_run, known in self._known.items()
            }
            return {job_run: images for job_run, images in held.items() if images}

        return await self._read(lambda: self._leases.of_worker(worker), remembered)

    async def jobs(self) -> list[JobRun]:
        """The job runs with leases or parked tasks."""
        return await self._read(self._leases.jobs, lambda: [job_run for job_run, known in self._known.items() if known])

    async def of_job(self, job_run: JobRun) -> dict[ImageId, KeptLease]:
        """All leases of a job, parked tasks among them."""
        try:
            found = await self._reach.ask(lambda: self._leases.of_job(job_run))
        except errors.Unavailable:
            return dict(self._known.get(job_run, {}))
        self._known[job_run] = dict(found)
        if not found:
            del self._known[job_run]
        return found

    async def confirm(self, job_run: JobRun, images: Iterable[ImageId], *, now: float) -> None:
        """Note that the queue was told of these; one whose lease ended meanwhile stays out."""
        known = self._known.get(job_run, {})
        confirmed = [image for image in images if image in known]
        for image in confirmed:
            known[image] = msgspec.structs.replace(known[image], confirmed=now)
        # What Redis misses of this is written down with the rest.
        await self._write(job_run, {}, lambda: self._leases.confirm(job_run, confirmed, now=now))

    def remembered(self, job_run: JobRun) -> int:
        """How many of the job's tasks workers hold, as far as is remembered."""
        return sum(lease.holder != NOBODY for lease in self._known.get(job_run, {}).values())

    def forget(self, job_run: JobRun, images: Iterable[ImageId]) -> None:
        """Remember these leases no longer; Redis may know better."""
        for image in images:
            self._known.get(job_run, {}).pop(image, None)

    async def write_down(self, *, everything: bool) -> None:
        """Write to Redis what it missed, or all that is remembered. Raises `Unavailable`."""
        if everything:
            for job_run, known in self._known.items():
                self._miss(job_run, {image: lease.holder for image, lease in known.items()})
        for job_run, known in list(self._known.items()):
            at: dict[float, list[ImageId]] = {}
            for image, lease in known.items():
                at.setdefault(lease.confirmed, []).append(image)
            # Those that another gateway has struck out meanwhile stay out.
            for confirmed, images in at.items():
                await self._leases.confirm(job_run, images, now=confirmed)
        # Others go on meanwhile, and Redis misses what they do.
        while self._missed:
            job_run, missed = next(iter(self._missed.items()))
            seen = dict(missed)
            await self._write_missed(job_run, seen)
            if missed == seen:
                del self._missed[job_run]

    async def _write_missed(self, job_run: JobRun, missed: Mapping[ImageId, int]) -> None:
        known = self._known.get(job_run, {})
        over: dict[int, list[ImageId]] = {}
        kept: dict[tuple[int, float], dict[ImageId, KeptLease]] = {}
        for image, before in missed.items():
            if (lease := known.get(image)) is None:
                over.setdefault(before, []).append(image)
            else:
                kept.setdefault((lease.holder, lease.confirmed), {})[image] = lease
        for holder, images in over.items():
            await self._leases.take(job_run, holder, images)
        for (holder, confirmed), leases in kept.items():
            await self._leases.hold(job_run, holder, leases, now=confirmed)

    def _holding(self) -> Counter[int]:
        return Counter(lease.holder for known in self._known.values() for lease in known.values())

    def _parked(self, job_run: JobRun) -> list[ImageId]:
        return [image for image, lease in self._known.get(job_run, {}).items() if lease.holder == NOBODY]

    def _miss(self, job_run: JobRun, before: Mapping[ImageId, int]) -> None:
        missed = self._missed.setdefault(job_run, {})
        for image, holder in before.items():
            missed.setdefault(image, holder)

    async def _read(self, ask: Callable[[], Awaitable[T]], remembered: Callable[[], T]) -> T:
        try:
            return await self._reach.ask(ask)
        except errors.Unavailable:
            return remembered()

    async def _write(
        self, job_run: JobRun, before: Mapping[ImageId, int], write: Callable[[], Awaitable[None]]
    ) -> None:
        try:
            await self._reach.ask(write)
        except errors.Unavailable:
            self._miss(job_run, before)


class RememberedWorkers:
    """`HttpWorkers`, with a memory. Only the methods about refused callers raise `Unavailable`."""

    def __init__(self, workers: HttpWorkers, reach: _Reach) -> None:
        self._workers = workers
        self._reach = reach
        self._known: dict[int, WorkerRecord] = {}

    async def hear(
        self,
        worker: int,
        *,
        name: str,
        host: str,
        now: float,
        pipelines: Iterable[str] = (),
        projects: Iterable[str] = (),
        service: str = "",
        waiting: bool = False,
        client_info: Mapping[str, str] | None = None,
    ) -> None:
        """Note a call of this worker, as `HttpWorkers` does."""
        before = self._record(worker)
        said: dict[str, Any] = {
            "name": name,
            "host": host,
            "pipelines": tuple(sorted(set(pipelines))),
            "projects": tuple(sorted(projects)),
            "service": service,
            "waiting": waiting,
            "client_info": client_info or before.client_info,
        }
        self._known[worker] = replace(
            before,
            **(said | {"pipelines": said["pipelines"] or before.pipelines}),
            heard=now,
            first_heard=before.first_heard or now,
        )
        await self._write(lambda: self._workers.hear(worker, now=now, **said))

    async def heard(self, worker: int, *, now: float) -> None:
        """Note that a worker that called before is still there."""
        if worker in self._known:
            self._known[worker] = replace(self._known[worker], heard=now)
        await self._write(lambda: self._workers.heard(worker, now=now))

    async def leave(self, worker: int) -> None:
        """Note that the worker ended; its counters stay."""
        if worker in self._known:
            self._known[worker] = replace(self._known[worker], heard=0.0, first_heard=0.0)
        await self._write(lambda: self._workers.leave(worker))

    async def count(self, worker: int, **more: int) -> None:
        """Add to the worker's counters; what happens while Redis is away is not counted."""
        await self._write(lambda: self._workers.count(worker, **more))

    async def measured(self, worker: int, speed: HttpWorkerSpeed, *, now: float) -> None:
        """Note the worker's speed after results that came now."""
        self._known[worker] = replace(self._record(worker), speed=speed, posted=now)
        await self._write(lambda: self._workers.measured(worker, speed, now=now))

    async def get(self, worker: int) -> WorkerRecord:
        """The worker's record; an empty one when it never called."""
        try:
            found = await self._reach.ask(lambda: self._workers.get(worker))
        except errors.Unavailable:
            return self._record(worker)
        # An empty one may mean that Redis lost its data, which `recover` finds out.
        if found.heard or worker not in self._known:
            self._known[worker] = found
        return found

    async def heard_since(self, moment: float) -> list[WorkerRecord]:
        """The workers that called at or after `moment`, as `HttpWorkers` lists them."""
        try:
            found = await self._reach.ask(lambda: self._workers.heard_since(moment))
        except errors.Unavailable:
            return [record for record in self._known.values() if record.heard >= moment]
        # Nothing else is remembered: a worker that was forgotten there is forgotten here.
        self._known = {record.worker: record for record in found}
        return found

    async def reject(self, address: str, *, now: float) -> None:
        """Count a call from this address that was refused for lack of a valid token. Raises `Unavailable`."""
        await self._reach.ask(lambda: self._workers.reject(address, now=now))

    async def write_down(self) -> None:
        """Write to Redis the records that are newer than those there. Raises `Unavailable`."""
        for record in list(self._known.values()):
            there = await self._workers.get(record.worker)
            if record.heard > there.heard:
                await self._workers.hear(
                    record.worker,
                    name=record.name,
                    host=record.host,
                    now=record.heard,
                    pipelines=record.pipelines,
                    projects=record.projects,
                    service=record.service,
                    waiting=record.waiting,
                    client_info=record.client_info,
                )
            if record.posted > there.posted:
                await self._workers.measured(record.worker, record.speed, now=record.posted)

    def _record(self, worker: int) -> WorkerRecord:
        return self._known.get(worker) or unheard(worker)

    async def _write(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._reach.ask(write)
        except errors.Unavailable as error:
            logger.debug("remembered only: %s", error)


class RememberedStore:
    """The part of `LiveStore` that a gateway works with, and what it remembers of it. An async context manager."""

    def __init__(self, store: LiveStore) -> None:
        self._store = store
        self._reach = _Reach(self._begin_to_look)
        self.leases = RememberedLeases(store.leases, self._reach)
        self.workers = RememberedWorkers(store.workers, self._reach)
        self.reports = RememberedReports(store.reports, self._reach.ask)
        self.turns = RememberedTurns(store.turns, self._reach.ask, self.leases.remembered)
        self._mark = ""
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> RememberedStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            await kernel.end(self._looking)

    @property
    def is_away(self) -> bool:
        """Whether Redis does not answer, or what it missed is not written down yet."""
        return self._reach.is_away

    async def look_for_loss(self) -> None:
        """Write everything down again if Redis has lost its data; call it before each round of keeping leases."""
        with contextlib.suppress(errors.Unavailable):
            await self._reach.ask(self._write_down)

    def _begin_to_look(self) -> None:
        self._looking = asyncio.create_task(self._until_back(), name="look whether Redis is back")

    async def _until_back(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._write_down()
            except errors.Unavailable as error:
                logger.debug("Redis is not back: %s", error)
            except Exception:
                # Whatever it is, nobody else looks.
                logger.exception("what Redis missed is not written down; trying on")
            else:
                self._reach.is_away = False
                logger.info("Redis is back")
                return

    async def _write_down(self) -> None:
        mark = await self._store.mark(secrets.token_hex(8))
        lost = bool(self._mark) and mark != self._mark
        if lost or self._reach.is_away:
            await self.workers.write_down()
            await self.leases.write_down(everything=lost)
            await self.turns.write_down(everything=lost)
        if lost:
            logger.info("Redis has lost its data: leases and workers are written down again")
        self._mark = mark
