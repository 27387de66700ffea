"""What workers behind the gateway reported about images that are still open, by job and image; and their reasons.

Nothing here is a record. What is forgotten costs one more attempt at an image, or is missing from what people see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.reported_errors import LONGEST_REASON, OTHERS, Report
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import translated

KEEP: Final = 7 * 24 * 3600
"""Seconds after the last write until they expire, should nobody delete them."""

MOST: Final = 20_000
"""Images per job, and in the memory of a process, about which reports are kept; those of further ones are forgotten."""

MOST_REASONS: Final = 50
"""Different reasons that are counted per worker; what else it says is counted as `OTHERS`."""


class Reports:
    """Keeps reports. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, client: Any) -> None:
        self._redis = client

    async def find(self, job_run: JobRun, images: Iterable[ImageId]) -> dict[ImageId, Report]:
        """What was reported about the images."""
        wanted = list(images)
        if not wanted:
            return {}
        with translated("reading reported errors"):
            values = await self._redis.hmget(keys.reports(job_run), [str(image) for image in wanted])
        return {image: _report(value) for image, value in zip(wanted, values, strict=True) if value}

    async def put(self, job_run: JobRun, reports: Mapping[ImageId, Report]) -> None:
        """Note reports, in place of earlier ones about the same images."""
        key = keys.reports(job_run)
        values = {str(image): msgspec.json.encode(report).decode() for image, report in reports.items()}
        if not values:
            return
        with translated("noting reported errors"):
            if await self._redis.hlen(key) >= MOST:
                return
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, mapping=values)
                pipe.expire(key, KEEP)
                await pipe.execute()

    async def count(self, job_run: JobRun) -> int:
        """About how many images something was reported."""
        with translated("counting reported errors"):
            return int(await self._redis.hlen(keys.reports(job_run)))

    async def of_job(self, job_run: JobRun) -> dict[ImageId, Report]:
        """All reports about a job's images."""
        with translated("reading reported errors"):
            found = await self._redis.hgetall(keys.reports(job_run))
        return {ImageId(int(image)): _report(value) for image, value in found.items()}

    async def forget(self, job_run: JobRun, images: Iterable[ImageId]) -> None:
        """Forget reports about images that are no longer open."""
        if decided := [str(image) for image in images]:
            with translated("forgetting reported errors"):
                await self._redis.hdel(keys.reports(job_run), *decided)

    async def forget_job(self, job_run: JobRun) -> None:
        """Forget all reports about a job's images."""
        with translated("forgetting reported errors"):
            await self._redis.delete(keys.reports(job_run))

    async def count_reasons(self, worker: int, reasons: Iterable[str]) -> None:
        """Add to how often the worker gave each reason."""
        key = keys.reasons(worker)
        with translated("counting reported errors"):
            known = set(await self._redis.hkeys(key))
            async with self._redis.pipeline(transaction=False) as pipe:
                for reason, times in Counter(one[:LONGEST_REASON] for one in reasons).items():
                    is_new = reason not in known and len(known) >= MOST_REASONS
                    pipe.hincrby(key, OTHERS if is_new else reason, times)
                    known.add(reason)
                pipe.expire(key, KEEP)
                await pipe.execute()

    async def reasons(self, worker: int) -> Counter[str]:
        """How often the worker gave each reason, of late."""
        with translated("reading reported errors"):
            found = await self._redis.hgetall(keys.reasons(worker))
        return Counter({reason: int(times) for reason, times in found.items()})


class RememberedReports:
    """`Reports` as a gateway uses them, with a memory for while Redis is away. No method raises `Unavailable`."""

    def __init__(self, reports: Reports, ask: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]) -> None:
        self._reports = reports
        # Raises `Unavailable`, at once while Redis is away.
        self._ask = ask
        # Each in the order in which it was put.
        self._known: dict[JobRun, dict[ImageId, Report]] = {}

    async def find(self, job_run: JobRun, images: Iterable[ImageId]) -> dict[ImageId, Report]:
        """What was reported about the images, as far as it is known."""
        wanted = list(images)
        known = self._known.get(job_run, {})
        mine = {image: known[image] for image in wanted if image in known}
        try:
            theirs: dict[ImageId, Report] = await self._ask(lambda: self._reports.find(job_run, wanted))
        except errors.Unavailable:
            return mine
        # Whichever knows more: Redis may have lost its data, and another gateway may have heard the last report.
        return {
            image: max((each[image] for each in (mine, theirs) if image in each), key=lambda one: one.answered)
            for image in mine.keys() | theirs.keys()
        }

    async def put(self, job_run: JobRun, reports: Mapping[ImageId, Report]) -> None:
        """Note reports, in place of earlier ones about the same images."""
        known = self._known.pop(job_run, {})
        for image, report in reports.items():
            known.pop(image, None)
            known[image] = report
        if known:
            self._known[job_run] = known
        self._trim()
        await self._quietly(lambda: self._reports.put(job_run, reports))

    async def count(self, job_run: JobRun) -> int:
        """About how many images something was reported."""
        mine = len(self._known.get(job_run, {}))
        try:
            theirs: int = await self._ask(lambda: self._reports.count(job_run))
        except errors.Unavailable:
            return mine
        return max(mine, theirs)

    async def count_reasons(self, worker: int, reasons: Iterable[str]) -> None:
        """Add to how often the worker gave each reason; what comes while Redis is away is not counted."""
        given = list(reasons)
        await self._quietly(lambda: self._reports.count_reasons(worker, given))

    def forget(self, job_run: JobRun, images: Iterable[ImageId]) -> None:
        """Remember these no longer; whoever collects the job makes Redis forget them."""
        if known := self._known.get(job_run):
            for image in images:
                known.pop(image, None)
            if not known:
                del self._known[job_run]

    def _trim(self) -> None:
        over = sum(map(len, self._known.values())) - MOST
        while over > 0:
            job_run, known = next(iter(self._known.items()))
            del known[next(iter(known))]
            over -= 1
            if not known:
                del self._known[job_run]

    async def _quietly(self, write: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._ask(write)
        except errors.Unavailable:
            # Remembered only.
            return


def _report(value: str) -> Report:
    try:
        return msgspec.json.decode(value, type=Report)
    except msgspec.DecodeError as error:
        raise errors.InternalError(f"a reported error in Redis cannot be read: {error}") from error
