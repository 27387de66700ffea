"""What a job's log says of HTTP workers' leases that ended without a result: whose, on which images, and why.

The normal course of an image writes no line. Lines are collected and written with each round of `keep_leases`, one for
each job, worker and reason, so that no client can fill a log. Nothing decisive rests on them: those of the last seconds
are lost when a gateway is killed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog.job_log import JobLog
from antenna_orchestration.domain.http_lease import MOST
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.progress import duration

logger = logging.getLogger(__name__)

SHOWN: Final = 20
"""Images that a line names; its details name up to `MOST`."""

MOST_LINES: Final = 1_000
"""Lines that wait for the catalog at most; the oldest are given up."""


class Why(StrEnum):
    """Why a lease ended without a result."""

    SILENT = "was not heard from"
    TOO_LONG = "kept them for too long"
    REFUSED = "its token is revoked or has expired"
    HANDED_BACK = "handed back"


@dataclass(slots=True)
class _Ended:
    """Leases that ended for one reason, with the longest time in seconds since one of them was given."""

    images: set[ImageId] = field(default_factory=set)
    age: float = 0.0


class LeaseLog:
    """Collects the lines, and writes them."""

    def __init__(self) -> None:
        self._ended: dict[tuple[JobRun, str, Why], _Ended] = {}

    def note(self, job_run: JobRun, worker: str, why: Why, images: Iterable[ImageId], *, age: float) -> None:
        """Take note of leases that ended, the oldest of them `age` seconds after it was given."""
        ended = self._ended.setdefault((job_run, worker, why), _Ended())
        ended.images.update(images)
        ended.age = max(ended.age, age)
        while len(self._ended) > MOST_LINES:
            del self._ended[next(iter(self._ended))]

    async def write(self, job_log: JobLog) -> None:
        """Write the lines. What the catalog does not take now is written next time."""
        while self._ended:
            job_run, worker, why = next(iter(self._ended))
            ended = self._ended.pop((job_run, worker, why))
            images = sorted(ended.images)[:MOST]
            handed_back = why is Why.HANDED_BACK
            try:
                await job_log.add(
                    job_run.job,
                    "handed_back" if handed_back else "no_result",
                    _line(worker, why, images, duration(ended.age)),
                    level="INFO" if handed_back else "WARNING",
                    images=images,
                    worker=worker,
                    leased_for=round(ended.age, 1),
                )
            except errors.Unavailable as error:
                logger.warning("job %s: its log does not say yet whose leases ended: %s", job_run.job, error)
                self.note(job_run, worker, why, images, age=ended.age)
                return


def _line(worker: str, why: Why, images: list[ImageId], age: str) -> str:
    named = ", ".join(str(image) for image in images[:SHOWN])
    if len(images) > SHOWN:
        named += f" and {len(images) - SHOWN} more"
    noun = "image" if len(images) == 1 else "images"
    if why is Why.HANDED_BACK:
        return f"{worker} handed back {noun} {named}, leased {age} before"
    return f"Result never came for {noun} {named}: {worker} leased them {age} ago and {why}; offered again"
