"""What a job's log says of HTTP workers' leases that ended without a result: whose, on which images, and why.

The normal course of an image writes no line. Lines are collected and written with each round of `keep_leases`, one for
each job, worker and reason, so that no client can fill a log. Nothing decisive rests on them: those of the last seconds
are lost when a gateway is killed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog.job_log import JobLog
from antenna_orchestration.domain.http_lease import MOST
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.live.leases import KeptLease

logger = logging.getLogger(__name__)

SHOWN: Final = 20
"""Images that a line names; its details name up to `MOST`."""

MOST_LINES: Final = 1_000
"""Lines that wait for the catalog at most; the oldest are given up."""


class Why(StrEnum):
    """Why a lease ended without a result."""

    SILENT = "the worker was not heard from"
    TOO_LONG = "the worker had them for too long"
    REFUSED = "its token is revoked or has expired"
    HANDED_BACK = "the worker handed them back"


@dataclass(slots=True)
class _Ended:
    """Leases that ended for one reason, with the longest time in seconds since one of them was given."""

    # Which delivery of its task each image had then.
    deliveries: dict[ImageId, int] = field(default_factory=dict)
    age: float = 0.0


class LeaseLog:
    """Collects the lines, and writes them."""

    def __init__(self) -> None:
        self._ended: dict[tuple[JobRun, str, Why], _Ended] = {}

    def note(self, job_run: JobRun, worker: str, why: Why, leases: Mapping[ImageId, KeptLease], *, now: float) -> None:
        """Take note of leases that ended `now`, by Redis' clock."""
        age = max((now - lease.since for lease in leases.values()), default=0.0)
        self._add(job_run, worker, why, _Ended({image: lease.delivery for image, lease in leases.items()}, age))

    def _add(self, job_run: JobRun, worker: str, why: Why, more: _Ended) -> None:
        ended = self._ended.setdefault((job_run, worker, why), _Ended())
        ended.deliveries |= more.deliveries
        ended.age = max(ended.age, more.age)
        while len(self._ended) > MOST_LINES:
            del self._ended[next(iter(self._ended))]

    async def write(self, job_log: JobLog) -> None:
        """Write the lines. What the catalog does not take now is written next time."""
        while self._ended:
            job_run, worker, why = next(iter(self._ended))
            ended = self._ended.pop((job_run, worker, why))
            images = sorted(ended.deliveries)[:MOST]
            handed_back = why is Why.HANDED_BACK
            try:
                await job_log.add(
                    job_run.job,
                    "handed_back" if handed_back else "no_result",
                    _line(worker, why, images, ended),
                    level="INFO" if handed_back else "WARNING",
                    images=images,
                    deliveries=[ended.deliveries[image] for image in images],
                    generation=job_run.generation,
                    worker=worker,
                    why=str(why),
                    leased_for=round(ended.age, 1),
                )
            except errors.Unavailable as error:
                logger.warning("job %s: its log does not say yet whose leases ended: %s", job_run.job, error)
                self._add(job_run, worker, why, ended)
                return


def _line(worker: str, why: Why, images: list[ImageId], ended: _Ended) -> str:
    named = ", ".join(str(image) for image in images[:SHOWN])
    if len(images) > SHOWN:
        named += f" and {len(images) - SHOWN} more"
    first, last = min(ended.deliveries.values()), max(ended.deliveries.values())
    delivery = f"delivery {first}" if first == last else f"deliveries {first} to {last}"
    leased = f"{'image' if len(images) == 1 else 'images'} {named}, leased {duration(ended.age)} before ({delivery})"
    if why is Why.HANDED_BACK:
        return f"{worker} handed back {leased}"
    return f"Result never came for {leased} by {worker}: {why}; offered again"
