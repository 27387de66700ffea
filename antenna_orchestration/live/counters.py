"""Live counters of running jobs."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.live import keys
from antenna_orchestration.live.connection import translated

logger = logging.getLogger(__name__)

KEEP: Final = 7 * 24 * 3600
"""Seconds after the last write until a job's counters expire, should nobody delete them."""


class Counters:
    """Writes and reads counters.

    Writing never raises: a collector goes on without Redis, and writes whole counters again a moment later.
    """

    def __init__(self, client: Any) -> None:
        self._redis = client
        self._down = False

    async def write(self, job_run: JobRun, progress: JobProgress) -> None:
        """Store the counters as absolute numbers, so that a lost or repeated write does no harm."""
        key = keys.counters(job_run)
        values = {
            "total": progress.total,
            "published": progress.published,
            "done": progress.done,
            "failed": progress.failed,
            "detections": progress.detections,
            "classifications": progress.classifications,
            "rate": progress.rate,
            "at": progress.at.timestamp(),
            "reported": progress.reported,
            "reasons": progress.reasons,
            "waits": progress.waits,
            "batches": progress.batches,
        }
        try:
            with translated("live counters are not written"):
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.hset(key, mapping={name: str(value) for name, value in values.items()})
                    pipe.expire(key, KEEP)
                    await pipe.execute()
        except errors.Unavailable as error:
            if not self._down:
                logger.warning("%s", error)
            self._down = True
        else:
            if self._down:
                logger.info("live counters are written again")
            self._down = False

    async def read(self, job_run: JobRun) -> JobProgress | None:
        """The counters as last written; None when there are none or Redis does not answer: count in the catalog."""
        try:
            with translated("reading live counters"):
                values = await self._redis.hgetall(keys.counters(job_run))
        except errors.Unavailable:
            return None
        if not values:
            return None
        counts = {name: int(values[name]) for name in ("total", "published", "done", "failed", "detections",
                  "classifications")}  # fmt: skip
        return JobProgress(
            **counts,
            rate=float(values["rate"]),
            at=datetime.fromtimestamp(float(values["at"]), UTC),
            # Collectors of earlier versions do not write these.
            reported=int(values.get("reported", 0)),
            reasons=values.get("reasons", ""),
            waits=values.get("waits", ""),
            batches=int(values.get("batches", 0)),
        )

    async def jobs(self) -> set[JobRun]:
        """Every job run that has counters. Raises `Unavailable`."""
        with translated("listing live counters"):
            return {
                keys.job_run_of_counters(key) async for key in self._redis.scan_iter(keys.ALL_COUNTERS, count=1_000)
            }

    async def forget(self, job_run: JobRun) -> None:
        """Delete the counters of a job that is over; without Redis they stay until they expire."""
        try:
            with translated(f"counters of job {job_run.job} stay until they expire"):
                await self._redis.delete(keys.counters(job_run))
        except errors.Unavailable as error:
            logger.warning("%s", error)
