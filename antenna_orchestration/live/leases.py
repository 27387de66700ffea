"""The leases that the gateway keeps for HTTP workers. Any gateway can extend them, and a restart loses none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, ImageId, JobRun
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import translated
from antenna_orchestration.live.scripts import NOBODY, LeaseScripts

AHEAD: Final = 5.0
"""Seconds beyond now from which on a time shows that Redis' clock was set back since it was noted."""


class KeptLease(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One lease of an HTTP worker, or a parked task, as Redis has it."""

    holder: int
    """Token of the worker; `NOBODY` for a parked task."""
    epoch: Epoch
    sequence: int
    place: int
    delivery: int
    since: float
    """When the worker got it; seconds by Redis' clock, like all times here."""
    uri: str = ""
    """Of parked tasks only, which are still to be leased."""
    confirmed: float = 0.0
    """When the queue was last told that the task is in progress. Stored apart from the rest, in `keys.confirmed`."""

    def is_ours(self, *, now: float, ack_wait: float) -> bool:
        """Whether the queue still counts the task as leased to its holder.

        After `ack_wait` seconds without a word the queue offers the task to everybody: then somebody else may hold it,
        and it must be neither extended nor handed back.
        """
        return now - self.confirmed < ack_wait

    def is_due(self, *, now: float, ack_wait: float) -> bool:
        """Whether the queue should be told again; no gateway has done so for a sixth of `ack_wait`.

        Every gateway looks each third of `ack_wait`, so at most half of it passes without a word. A word of before the
        clock was set back does not count: the queue's may go right.
        """
        return not -AHEAD < now - self.confirmed < ack_wait / 6


class HttpLeases:
    """Keeps leases. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        self._scripts = LeaseScripts(client)

    async def now(self) -> float:
        """Seconds by Redis' clock, the one that all gateways share."""
        with translated("reading the clock"):
            seconds, micros = await self._redis.time()
        return float(seconds) + float(micros) / 1e6

    async def hold(self, job_run: JobRun, holder: int, kept: Mapping[ImageId, KeptLease], *, now: float) -> None:
        """Write leases down, confirmed now; an earlier holder of the same image loses it."""
        if not kept:
            return
        with translated("keeping leases"):
            await self._scripts.hold(job_run, holder, {image: _text(lease) for image, lease in kept.items()}, now=now)

    async def take(self, job_run: JobRun, holder: int, images: Iterable[ImageId]) -> dict[ImageId, KeptLease]:
        """Strike out those of the images that this holder has, and return them; of two callers, one gets an image."""
        with translated("striking out leases"):
            found = await self._scripts.take(job_run, holder, images)
        return {one.image: _lease(one.value, one.confirmed) for one in found}

    async def find(self, job_run: JobRun, images: Iterable[ImageId]) -> dict[ImageId, KeptLease]:
        """The leases on the images, without parked tasks. Their `confirmed` is not read."""
        wanted = list(images)
        if not wanted:
            return {}
        with translated("looking for leases"):
            values = await self._redis.hmget(keys.leases(job_run), [str(image) for image in wanted])
        return {image: _lease(value) for image, value in zip(wanted, values, strict=True) if value}

    async def of_image(self, job_run: JobRun, image: ImageId) -> KeptLease | None:
        """The lease on the image, or its parked task; None when there is neither."""
        with translated("looking for a lease"):
            for key in (keys.leases(job_run), keys.parked(job_run)):
                if value := await self._redis.hget(key, str(image)):
                    return _lease(value)
        return None

    async def take_parked(self, job_run: JobRun) -> tuple[ImageId, KeptLease] | None:
        """Take one parked task of the job out; None when there is none."""
        with translated("looking for parked tasks"):
            for image in await self._redis.hkeys(keys.parked(job_run)):
                taken = await self.take(job_run, NOBODY, [ImageId(int(image))])
                if taken:
                    return next(iter(taken.items()))
        return None

    async def has_parked(self, job_run: JobRun) -> bool:
        """Whether a task of the job waits to be leased singly."""
        with translated("looking for parked tasks"):
            return bool(await self._redis.exists(keys.parked(job_run)))

    async def held_by(self, worker: int) -> int:
        """How many tasks the worker holds."""
        with translated("counting leases"):
            return int(await self._redis.scard(keys.holding(worker)))

    async def held_by_each(self, workers: Sequence[int]) -> dict[int, int]:
        """The same of several workers."""
        with translated("counting leases"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for worker in workers:
                    pipe.scard(keys.holding(worker))
                return dict(zip(workers, await pipe.execute(), strict=True))

    async def of_worker(self, worker: int) -> dict[JobRun, list[ImageId]]:
        """The images that the worker holds."""
        with translated("listing leases"):
            members = await self._redis.smembers(keys.holding(worker))
        found: dict[JobRun, list[ImageId]] = {}
        for member in members:
            job_run, image = keys.image_of_member(member)
            found.setdefault(job_run, []).append(image)
        return found

    async def jobs(self) -> list[JobRun]:
        """The job runs with leases or parked tasks."""
        with translated("listing leases"):
            members = await self._redis.smembers(keys.LEASED_JOBS)
        return [keys.job_run_of_member(member) for member in members]

    async def of_job(self, job_run: JobRun) -> dict[ImageId, KeptLease]:
        """All leases of a job, parked tasks among them. A job that has none is forgotten."""
        with translated("listing leases"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hgetall(keys.leases(job_run))
                pipe.hgetall(keys.parked(job_run))
                pipe.zrange(keys.confirmed(job_run), 0, -1, withscores=True)
                leased, parked, confirmed = await pipe.execute()
            if not leased and not parked:
                await self._scripts.forget_job(job_run)
        times = dict(confirmed)
        return {
            ImageId(int(image)): _lease(value, times.get(image, 0.0)) for image, value in {**parked, **leased}.items()
        }

    async def confirm(self, job_run: JobRun, images: Iterable[ImageId], *, now: float) -> None:
        """Note that the queue was told of these; one whose lease ended meanwhile stays out."""
        if marks := {str(image): now for image in images}:
            with translated("confirming leases"):
                await self._redis.zadd(keys.confirmed(job_run), marks, xx=True)


def _text(lease: KeptLease) -> str:
    return msgspec.json.encode(lease).decode()


def _lease(value: str, confirmed: float = 0.0) -> KeptLease:
    try:
        lease = msgspec.json.decode(value, type=KeptLease)
    except msgspec.DecodeError as error:
        raise errors.InternalError(f"a lease in Redis cannot be read: {error}") from error
    return msgspec.structs.replace(lease, confirmed=confirmed)
