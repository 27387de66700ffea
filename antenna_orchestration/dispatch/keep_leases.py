"""Keep leases: for as long as HTTP workers are heard from, tell the queue that their tasks are in progress.

Every gateway and push worker looks after all HTTP workers. A lease that one of them has just extended is left alone by
the others, and one that ends is handed back once, by the process that struck it out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch import further_tries, reported, worker_status
from antenna_orchestration.dispatch.hand_back import forgive, offer_again
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.lease_log import Why
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain.access import token_of
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.live.leases import AHEAD, KeptLease
from antenna_orchestration.live.scripts import NOBODY
from antenna_orchestration.live.workers import WorkerRecord

logger = logging.getLogger(__name__)

PARKED_FOR: Final = 30.0
"""Seconds that a parked task waits for an HTTP worker to lease it singly; then it is offered to everybody again."""


async def keep_leases(http: HttpServices) -> None:
    """Extend or end all leases once, and show the workers that are alive; call it every third of `task_ack_wait`.

    Raises `Unavailable` when queue or catalog do not answer. Nothing is handed back then, nor is a worker's silence
    counted, since no worker could be heard. Without Redis nothing is handed back either, but what workers without a
    token hold: another gateway may hear the worker, and a lease that nobody extends ends by itself.
    """
    if not http.remote_leases.is_connected:
        return
    await http.live.look_for_loss()
    now = await http.live.leases.now()
    hearing_since = http.listening.begin(now, gap=http.settings.task_ack_wait)
    await worker_status.show(http, now=now)
    records: dict[int, WorkerRecord] = {}
    tokens: dict[int, bool] = {}
    for job_run in await http.live.leases.jobs():
        kept = await http.live.leases.of_job(job_run)
        # A round of many jobs takes a while, or this process stood still: leases that are younger than the round are no
        # sign of a clock that was set back.
        latest = await http.live.leases.now()
        holders = {lease.holder for lease in kept.values()} - {NOBODY}
        for holder in holders - records.keys():
            records[holder] = await http.live.workers.get(holder)
        if unknown := {token_of(holder) for holder in holders} - tokens.keys():
            valid = await http.services.catalog.tokens.valid(unknown)
            tokens |= {token: token in valid for token in unknown}
        if kept and not await _is_open(http, job_run):
            await _end_quietly(http, job_run, kept)
            continue
        over: dict[ImageId, Why] = {}
        for image, lease in kept.items():
            if lease.holder != NOBODY and not tokens[token_of(lease.holder)]:
                over[image] = Why.REFUSED
            elif lease.since > latest + AHEAD:
                # Of before Redis' clock was set back: it would last until the clock has come that far again.
                over[image] = Why.TOO_LONG
            elif (why := _why_over(http, lease, records, now, hearing_since)) is not None:
                over[image] = why
        to_end = over
        if http.live.is_away:
            to_end = {image: why for image, why in over.items() if why is Why.REFUSED}
            http.live.leases.forget(job_run, over.keys() - to_end.keys())
        await _end(http, job_run, kept, to_end, records=records, now=now)
        # Should the queue offer one of the others to us, `lease` recognizes it.
        ours = {
            image: lease
            for image, lease in kept.items()
            if image not in over
            and lease.is_ours(now=latest, ack_wait=http.settings.task_ack_wait)
            and lease.is_due(now=latest, ack_wait=http.settings.task_ack_wait)
        }
        await http.remote_leases.extend(ack_of(job_run, lease) for lease in ours.values())
        await http.live.leases.confirm(job_run, ours, now=latest)
    await reported.keep(http)
    await http.lease_log.write(http.services.catalog.job_log)
    http.listening.end(now)


def _why_over(
    http: HttpServices, lease: KeptLease, records: Mapping[int, WorkerRecord], now: float, hearing_since: float
) -> Why | None:
    """Why a lease is over, or a parked task has waited for too long; None for one that goes on.

    By the time at which the round began: what workers said since was not read.
    """
    if lease.holder == NOBODY:
        return Why.TOO_LONG if now - lease.since > PARKED_FOR else None
    record, longest = records[lease.holder], http.settings.http_lease
    if now - lease.since > record.speed.lease(longest):
        return Why.TOO_LONG
    is_silent = now - max(record.heard, hearing_since) > record.speed.silence(longest)
    return Why.SILENT if is_silent else None


async def _is_open(http: HttpServices, job_run: JobRun) -> bool:
    found = await http.services.catalog.jobs.find(job_run.job)
    return found is not None and found.job_run == job_run and found.status in ACTIVE


async def _end_quietly(http: HttpServices, job_run: JobRun, leases: Mapping[ImageId, KeptLease]) -> None:
    """Strike out the leases of a job that is over."""
    for holder in {lease.holder for lease in leases.values()}:
        images = [image for image, lease in leases.items() if lease.holder == holder]
        await http.live.leases.take(job_run, holder, images)


async def _end(
    http: HttpServices,
    job_run: JobRun,
    kept: Mapping[ImageId, KeptLease],
    over: Mapping[ImageId, Why],
    *,
    records: Mapping[int, WorkerRecord],
    now: float,
) -> None:
    """Strike out what is `over`, offer it to everybody, and say in the job's log and counters whose it was."""
    groups: dict[tuple[int, Why], list[ImageId]] = {}
    for image, why in over.items():
        groups.setdefault((kept[image].holder, why), []).append(image)
    for (holder, why), images in groups.items():
        # Another gateway may have been faster.
        ended = await http.live.leases.take(job_run, holder, images)
        if holder == NOBODY:
            await further_tries.left_out(http, job_run, ended)
        if ended and holder != NOBODY:
            name = records[holder].name or f"token {token_of(holder)}"
            logger.warning("job %s: %d leases of %s ended without a result: %s", job_run.job, len(ended), name, why)
            http.lease_log.note(job_run, name, why, ended, now=now)
            await http.live.workers.count(holder, expired=len(ended))
            if why is Why.REFUSED:
                await forgive(http, job_run, ended)
        await offer_again(http, job_run, ended.values(), lambda _: 0.0)


async def keep_quietly(http: HttpServices) -> None:
    """`keep_leases` for a loop: when a store does not answer, this only logs a warning."""
    try:
        await keep_leases(http)
    except errors.Unavailable as error:
        logger.warning("leases of HTTP workers are not kept now: %s", error)
