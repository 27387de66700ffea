"""Keep leases: for as long as HTTP workers are heard from, say for them that their tasks are in progress.

Every gateway does it for all, which does no harm; what is handed back is handed back by the one that struck it out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch import worker_status
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain.ids import Generation, ImageId, JobId
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.live.leases import NOBODY, KeptLease
from antenna_orchestration.live.workers import WorkerRecord

logger = logging.getLogger(__name__)

PARKED_FOR: Final = 30.0
"""Seconds that a task waits in the gateway for an HTTP worker to take it alone, before everybody may have it again."""


async def keep_leases(http: HttpServices) -> None:
    """One round, to be made every third of `task_ack_wait`; also shows the workers that are alive.

    Raises `Unavailable` when a store is away: nothing is handed back then, since nobody can be heard.
    """
    if not http.remote_leases.is_connected:
        return
    now = await http.leases.now()
    await worker_status.show(http, now=now)
    records: dict[int, WorkerRecord] = {}
    for job, generation in await http.leases.jobs():
        kept = await http.leases.of_job(job, generation)
        for holder in {lease.holder for lease in kept.values()} - {NOBODY} - records.keys():
            records[holder] = await http.workers.get(holder)
        if kept and not await _is_open(http, job, generation):
            await _end(http, job, generation, kept, offer_again=False)
            continue
        over = {image: lease for image, lease in kept.items() if _is_over(http, lease, records, now)}
        await _end(http, job, generation, over, offer_again=True)
        # One that nobody could extend for too long may be somebody else's by now; should the queue offer it to us, it
        # is known (`lease`).
        ours = {
            image: lease
            for image, lease in kept.items()
            if image not in over and now - lease.confirmed < http.settings.task_ack_wait
        }
        await http.remote_leases.extend(ack_of(job, generation, lease) for lease in ours.values())
        await http.leases.confirm(job, generation, ours, now=now)


def _is_over(http: HttpServices, lease: KeptLease, records: Mapping[int, WorkerRecord], now: float) -> bool:
    if lease.holder == NOBODY:
        return now - lease.since > PARKED_FOR
    record, longest = records[lease.holder], http.settings.http_lease
    return now - lease.since > record.speed.lease(longest) or now - record.heard > record.speed.silence(longest)


async def _is_open(http: HttpServices, job: JobId, generation: Generation) -> bool:
    found = await http.services.catalog.jobs.find(job)
    return found is not None and found.generation == generation and found.status in ACTIVE


async def _end(
    http: HttpServices,
    job: JobId,
    generation: Generation,
    leases: Mapping[ImageId, KeptLease],
    *,
    offer_again: bool,
) -> None:
    """Strike leases out and, with `offer_again`, offer their tasks to everybody again."""
    by_holder: dict[int, list[ImageId]] = {}
    for image, lease in leases.items():
        by_holder.setdefault(lease.holder, []).append(image)
    for holder, images in by_holder.items():
        if not offer_again:
            await http.leases.take(job, generation, holder, images)
            continue
        taken = await hand_back(http, job, generation, holder, images)
        if taken and holder != NOBODY:
            logger.warning("job %s: %d leases of an HTTP worker ended without a result", job, taken)
            await http.workers.count(holder, expired=taken)


async def hand_back(
    http: HttpServices,
    job: JobId,
    generation: Generation,
    holder: int,
    images: Iterable[ImageId],
    *,
    delay: float = 0.0,
) -> int:
    """Strike out this holder's leases among the images and offer them to everybody again; how many there were.

    `delay` is seconds until they are offered. Raises `Unavailable`.
    """
    taken = await http.leases.take(job, generation, holder, images)
    if taken:
        now = await http.leases.now()
        # Past its time a lease may be somebody else's: then it is not ours to hand back.
        ours = [lease for lease in taken.values() if now - lease.confirmed < http.settings.task_ack_wait]
        await http.remote_leases.hand_back((ack_of(job, generation, lease) for lease in ours), delay)
    return len(taken)


async def keep_quietly(http: HttpServices) -> None:
    """The same for a loop: a store that is away makes it late."""
    try:
        await keep_leases(http)
    except errors.Unavailable as error:
        logger.warning("leases of HTTP workers are not kept now: %s", error)
