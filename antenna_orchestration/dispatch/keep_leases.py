"""Keep leases: for as long as HTTP workers are heard from, tell the queue that their tasks are in progress.

Every gateway and push worker looks after all HTTP workers. A lease that one of them has just extended is left alone by
the others, and one that ends is handed back once, by the process that struck it out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch import worker_status
from antenna_orchestration.dispatch.hand_back import hand_back
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.live.leases import NOBODY, KeptLease
from antenna_orchestration.live.workers import WorkerRecord

logger = logging.getLogger(__name__)

PARKED_FOR: Final = 30.0
"""Seconds that a parked task waits for an HTTP worker to lease it singly; then it is offered to everybody again."""


async def keep_leases(http: HttpServices) -> None:
    """Extend or end all leases once, and show the workers that are alive; call it every third of `task_ack_wait`.

    Raises `Unavailable` when queue or catalog do not answer. Nothing is handed back then, since no worker could be
    heard. Nor is it without Redis: another gateway may hear the worker, and a lease that nobody extends ends by itself.
    """
    if not http.remote_leases.is_connected:
        return
    await http.live.look_for_loss()
    now = await http.live.leases.now()
    await worker_status.show(http, now=now)
    records: dict[int, WorkerRecord] = {}
    for job_run in await http.live.leases.jobs():
        kept = await http.live.leases.of_job(job_run)
        for holder in {lease.holder for lease in kept.values()} - {NOBODY} - records.keys():
            records[holder] = await http.live.workers.get(holder)
        if kept and not await _is_open(http, job_run):
            await _end(http, job_run, kept, offer_again=False)
            continue
        over = {image: lease for image, lease in kept.items() if _is_over(http, lease, records, now)}
        if http.live.is_away:
            http.live.leases.forget(job_run, over)
        else:
            await _end(http, job_run, over, offer_again=True)
        # Should the queue offer one of the others to us, `lease` recognizes it.
        ours = {
            image: lease
            for image, lease in kept.items()
            if image not in over
            and lease.is_ours(now=now, ack_wait=http.settings.task_ack_wait)
            and lease.is_due(now=now, ack_wait=http.settings.task_ack_wait)
        }
        await http.remote_leases.extend(ack_of(job_run, lease) for lease in ours.values())
        await http.live.leases.confirm(job_run, ours, now=now)


def _is_over(http: HttpServices, lease: KeptLease, records: Mapping[int, WorkerRecord], now: float) -> bool:
    if lease.holder == NOBODY:
        return now - lease.since > PARKED_FOR
    record, longest = records[lease.holder], http.settings.http_lease
    return now - lease.since > record.speed.lease(longest) or now - record.heard > record.speed.silence(longest)


async def _is_open(http: HttpServices, job_run: JobRun) -> bool:
    found = await http.services.catalog.jobs.find(job_run.job)
    return found is not None and found.job_run == job_run and found.status in ACTIVE


async def _end(http: HttpServices, job_run: JobRun, leases: Mapping[ImageId, KeptLease], *, offer_again: bool) -> None:
    """Strike leases out and, with `offer_again`, offer their tasks to everybody."""
    by_holder: dict[int, list[ImageId]] = {}
    for image, lease in leases.items():
        by_holder.setdefault(lease.holder, []).append(image)
    for holder, images in by_holder.items():
        if not offer_again:
            await http.live.leases.take(job_run, holder, images)
            continue
        ended = await hand_back(http, job_run, holder, images)
        if ended and holder != NOBODY:
            logger.warning("job %s: %d leases of an HTTP worker ended without a result", job_run.job, ended)
            await http.live.workers.count(holder, expired=ended)


async def keep_quietly(http: HttpServices) -> None:
    """`keep_leases` for a loop: when a store does not answer, this only logs a warning."""
    try:
        await keep_leases(http)
    except errors.Unavailable as error:
        logger.warning("leases of HTTP workers are not kept now: %s", error)
