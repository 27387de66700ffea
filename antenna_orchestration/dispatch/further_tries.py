"""Further tries of images about which a worker reported an error: by another worker where there is one, or alone.

An image is tried alone when the worker failed on a whole batch and nobody knows for which image. Existing workers may
fill one batch from several answers, so the worker holds no other image of the job meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import reach, reported_errors
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.ids import Epoch, ImageId, JobRun
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.live.scripts import NOBODY
from antenna_orchestration.queue.leasing import Lease

WAIT_FOR_TURN: Final = 2.0
"""Seconds that a call waits for the worker's results while all that is left has to be tried alone."""

LOOK_EVERY: Final = 0.25
"""Seconds between looks during that wait."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """What a worker holds of a job, as far as further tries are concerned."""

    # Whether errors were reported about images of the job.
    has_reports: bool = False
    # Whether the worker holds images of the job, and among them one that has to be tried alone.
    holds: bool = False
    holds_alone: bool = False


async def holding(http: HttpServices, job: Job, epoch: Epoch, worker: Token) -> Holding:
    """What the worker holds; waits for up to 2 s while it may get nothing because of that. Raises `Unavailable`."""
    if not await http.live.reports.count(job.job_run):
        return Holding()
    deadline = time.monotonic() + WAIT_FOR_TURN
    while True:
        held = (await http.live.leases.of_worker(worker.holder)).get(job.job_run, [])
        reports = await http.live.reports.find(job.job_run, held)
        found = Holding(has_reports=True, holds=bool(held), holds_alone=any(one.alone for one in reports.values()))
        if not held or time.monotonic() >= deadline:
            return found
        if not found.holds_alone and await http.remote_leases.is_deliverable(job.job_run, epoch):
            return found
        await asyncio.sleep(LOOK_EVERY)


async def take_parked(http: HttpServices, job: Job, holding: Holding) -> tuple[ImageId, KeptLease] | None:
    """Take out a parked task that the worker may have now; None when there is none. Raises `Unavailable`."""
    while (parked := await http.live.leases.take_parked(job.job_run)) is not None:
        image, kept = parked
        now = await http.live.leases.now()
        if not kept.is_ours(now=now, ack_wait=http.settings.task_ack_wait):
            continue
        reports = await http.live.reports.find(job.job_run, [image]) if holding.has_reports else {}
        if holding.holds and image in reports and reports[image].alone:
            await http.live.leases.hold(job.job_run, NOBODY, {image: kept}, now=kept.confirmed)
            return None
        return parked
    return None


async def keep_for_others(
    http: HttpServices, job: Job, worker: Token, found: Sequence[Lease], holding: Holding
) -> tuple[list[Lease], Mapping[ImageId, Report]]:
    """Hand back what this worker reported an error about, for a while and if another worker serves the job.

    Returns the others, and the reports about them. Raises `Unavailable`.
    """
    repeated = [one.task.image for one in found if one.delivery > 1] if holding.has_reports else []
    reports = await http.live.reports.find(job.job_run, repeated)
    now = await http.live.leases.now()
    theirs = {
        image: report
        for image, report in reports.items()
        if reported_errors.is_kept_for_others(report, worker.holder, now=now)
    }
    if not theirs:
        return list(found), reports
    serving = sum(reach.can_serve(one, job) for one in await http.services.heartbeats.workers())
    # Those who reported on it may be among those who serve the job.
    theirs = {image: report for image, report in theirs.items() if serving > len(report.holders)}
    await _count_left_out(http, job.job_run, theirs)
    await http.remote_leases.hand_back(
        [one.ack for one in found if one.task.image in theirs], reported_errors.LEAVE_OUT_FOR
    )
    return [one for one in found if one.task.image not in theirs], reports


async def left_out(http: HttpServices, job_run: JobRun, images: Iterable[ImageId]) -> Mapping[ImageId, Report]:
    """Note that nobody tried these images, so that the delivery is none of their attempts; the reports until then.

    To be called from the second delivery of a task on: of most tasks there is no other.
    """
    wanted = list(images)
    known = await http.live.reports.find(job_run, wanted)
    await _count_left_out(http, job_run, {image: known.get(image, Report()) for image in wanted})
    return known


async def _count_left_out(http: HttpServices, job_run: JobRun, reports: Mapping[ImageId, Report]) -> None:
    more = {image: msgspec.structs.replace(one, left_out=one.left_out + 1) for image, one in reports.items()}
    await http.live.reports.put(job_run, more)
