"""Live counters of running jobs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import redis.exceptions

from antenna_orchestration import errors, settings
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import connect

logger = logging.getLogger(__name__)

KEEP = 7 * 24 * 3600
"""Seconds after its last write that a job's counters are forgotten, should nobody delete them."""


class Progress:
    """Writes and reads counters. Use it as an async context manager.

    Writing never raises: a collector goes on without Redis, and writes whole counters again a moment later.
    """

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self.client = self._redis = connect(redis_url)
        """Redis itself, for the other modules of this folder."""
        self._down = False

    async def __aenter__(self) -> Progress:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def check(self) -> None:
        """Raise `Unavailable` when Redis does not answer."""
        try:
            await self._redis.ping()
        except (redis.exceptions.RedisError, OSError) as error:
            raise errors.Unavailable(
                f"Redis at {settings.without_password(self._url)} cannot be reached: {error}"
            ) from error

    async def write(self, job: JobId, generation: Generation, progress: JobProgress) -> None:
        """Store the counters as absolute numbers, so that a lost or repeated write does no harm."""
        key = keys.counters(job, generation)
        values = {
            "total": progress.total,
            "published": progress.published,
            "done": progress.done,
            "failed": progress.failed,
            "detections": progress.detections,
            "classifications": progress.classifications,
            "rate": progress.rate,
            "at": progress.at.timestamp(),
        }
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(key, mapping={name: str(value) for name, value in values.items()})
                pipe.expire(key, KEEP)
                await pipe.execute()
        except (redis.exceptions.RedisError, OSError) as error:
            if not self._down:
                logger.warning("live counters are not written: Redis: %s", error)
            self._down = True
        else:
            if self._down:
                logger.info("live counters are written again")
            self._down = False

    async def read(self, job: JobId, generation: Generation) -> JobProgress | None:
        """The counters as last written; None when there are none or Redis is silent: count in the catalog then."""
        try:
            values = await self._redis.hgetall(keys.counters(job, generation))
        except (redis.exceptions.RedisError, OSError):
            return None
        if not values:
            return None
        counts = {name: int(values[name]) for name in ("total", "published", "done", "failed", "detections",
                  "classifications")}  # fmt: skip
        return JobProgress(**counts, rate=float(values["rate"]), at=datetime.fromtimestamp(float(values["at"]), UTC))

    async def jobs(self) -> set[tuple[JobId, Generation]]:
        """Every job and generation that has counters. Raises `Unavailable`."""
        try:
            return {keys.job_of_counters(key) async for key in self._redis.scan_iter(keys.ALL_COUNTERS, count=1_000)}
        except (redis.exceptions.RedisError, OSError) as error:
            raise errors.Unavailable(f"Redis: {error}") from error

    async def forget(self, job: JobId, generation: Generation) -> None:
        """Delete the counters of a job that is over."""
        try:
            await self._redis.delete(keys.counters(job, generation))
        except (redis.exceptions.RedisError, OSError) as error:
            logger.warning("counters of job %s stay until they expire: Redis: %s", job, error)
