"""Lease: give tasks of a job to a worker behind the gateway.

The queue's own lease is short, and the gateway extends it (`keep_leases`) for as long as it hears from the worker. As
for every worker, `domain.attempts` decides from the delivery count whether a task goes into a batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.dispatch import further_tries
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import attempts, messages, reported_errors
from antenna_orchestration.domain.access import Token, token_of
from antenna_orchestration.domain.http_lease import ACCEPTED_FOR, LeaseClaim
from antenna_orchestration.domain.ids import Epoch, ImageId, JobRun
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.live.scripts import NOBODY
from antenna_orchestration.queue import names
from antenna_orchestration.queue.leasing import Lease

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 1_000
"""Tasks leased to a worker by one call."""

WAIT_AT_BOUND: Final = 20.0
"""Seconds that a call waits while the worker holds all that it may; existing clients give up after 30."""

MOST_BEYOND: Final = 8
"""Tasks beyond its bound that a worker is given after such waits: existing ones call from several processes at once."""

LOOK_EVERY: Final = 0.25
"""Seconds between looks during that wait."""

NO_ANSWER: Final = "Task queue temporarily unavailable"

JUDGE_EVERY: Final = 1.0
"""Seconds between two questions, during that wait, whether the turn is over. With 200 jobs, one costs 4 ms of CPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """A task in the hands of an HTTP worker."""

    image: ImageId
    uri: str
    # The signed text that its result is posted with, as `reply_subject`.
    token: str


async def _never() -> bool:
    return False


async def lease(
    http: HttpServices, job: Job, worker: Token, wanted: int, *, is_over: Callable[[], Awaitable[bool]] = _never
) -> list[Leased]:
    """Lease up to `wanted` tasks of the job; fewer to a slow worker, and a single one from its third delivery on.

    Returns an empty list, at once, only when no task of the job can be delivered, while the worker holds one that it
    has to try alone, or when its turn `is_over`. Else a worker that holds all that it may waits for up to 20 s, and
    then gets one more task. Raises `Unavailable` when a store does not answer; nothing is leased then.
    """
    if job.status not in ACTIVE or job.epoch is None:
        return []
    deadline = time.monotonic() + WAIT_AT_BOUND
    while await _has_room(http, job, job.epoch, worker, deadline, is_over=is_over):
        async with http.leasing(worker.holder):
            # Other calls of the worker may have been given tasks since.
            if room := await _room(http, worker, deadline):
                return await _give(http, job, job.epoch, worker, min(room, wanted))
    return []


async def _give(http: HttpServices, job: Job, epoch: Epoch, worker: Token, room: int) -> list[Leased]:
    """Lease up to `room` tasks; an empty list when none can be delivered, or the worker has to try one alone."""
    holding = await further_tries.holding(http, job, epoch, worker)
    while not holding.holds_alone:
        if parked := await further_tries.take_parked(http, job, holding):
            return [await _give_parked(http, job, worker, *parked)]
        async with http.pulling(job.job_id):
            found = await http.leaser.lease(job.job_run, epoch, min(room, MOST_AT_ONCE))
        # The consumer is gone; or it has no leader just now, and then this raises, or it answered too late.
        if found is None and await http.services.queue.counts(job.job_run, epoch) is not None:
            raise errors.Unavailable(NO_ANSWER)
        if not found:
            return []
        # Some may be left from a pull that failed long ago.
        found = [one for one in found if one.is_ours]
        try:
            fresh = await _without_known(http, job, found)
            fresh, reports = await further_tries.keep_for_others(http, job, worker, fresh, holding)
            given = await _sort(http, job, worker, fresh, reports, may_have_alone=not holding.holds)
        except BaseException:
            # They are not written down, so nobody would extend them.
            await http.remote_leases.hand_back(one.ack for one in found)
            raise
        if given:
            await http.live.workers.count(worker.holder, leased=len(given))
            return given
    return []


async def _has_room(
    http: HttpServices,
    job: Job,
    epoch: Epoch,
    worker: Token,
    deadline: float,
    *,
    is_over: Callable[[], Awaitable[bool]],
) -> bool:
    """Wait until the worker may lease a task; False when the job has no leasable one, or the worker's turn is over."""
    judge_at = time.monotonic()
    while True:
        if time.monotonic() >= judge_at:
            judge_at = time.monotonic() + JUDGE_EVERY
            if await is_over():
                return False
        if await _room(http, worker, deadline) > 0:
            return True
        if time.monotonic() >= deadline or not await has_tasks(http, job.job_run, epoch):
            return False
        await asyncio.sleep(LOOK_EVERY)


async def _room(http: HttpServices, worker: Token, deadline: float) -> int:
    """How many tasks the worker may lease now; one beyond its bound after the deadline, if it has few of these."""
    speed = (await http.live.workers.get(worker.holder)).speed
    room = speed.may_hold(http.settings.http_lease) - await http.live.leases.held_by(worker.holder)
    return 1 if room <= 0 and room > -MOST_BEYOND and time.monotonic() >= deadline else max(room, 0)


async def _without_known(http: HttpServices, job: Job, found: Sequence[Lease]) -> list[Lease]:
    """Leave out the tasks that a worker holds already, and note their new delivery.

    The queue delivers such a task again when nobody could extend its lease for a while, because the gateway or NATS was
    restarted.
    """
    repeated = [one for one in found if one.delivery > 1]
    held = await http.live.leases.find(job.job_run, [one.task.image for one in repeated])
    if not held:
        return list(found)
    now = await http.live.leases.now()
    for one in repeated:
        if before := held.get(one.task.image):
            kept = KeptLease(
                holder=before.holder,
                epoch=before.epoch,
                sequence=one.ack.sequence,
                place=one.ack.place,
                delivery=one.delivery,
                since=before.since,
            )
            await http.live.leases.hold(job.job_run, before.holder, {one.task.image: kept}, now=now)
    return [one for one in found if one.task.image not in held]


async def _sort(
    http: HttpServices,
    job: Job,
    worker: Token,
    found: Sequence[Lease],
    reports: Mapping[ImageId, Report],
    *,
    may_have_alone: bool,
) -> list[Leased]:
    """Lease a batch or a single task, park other tasks that must be leased singly, and fail what nobody should open."""
    by_plan: dict[attempts.Plan, list[Lease]] = {plan: [] for plan in attempts.Plan}
    for one in found:
        by_plan[await _plan(http, one, reports.get(one.task.image))].append(one)
    if unopened := by_plan[attempts.Plan.FAIL_UNOPENED]:
        await _fail_unopened(http, worker, unopened)
    batch, alone = by_plan[attempts.Plan.BATCH], by_plan[attempts.Plan.ALONE]
    chosen, parked = (batch, alone) if batch or not may_have_alone else (alone[:1], alone[1:])
    now = await http.live.leases.now()
    await http.live.leases.hold(job.job_run, NOBODY, _kept(parked, NOBODY, now), now=now)
    if not batch:
        await _note_open_attempts(http, [one.task for one in chosen])
    kept = _kept(chosen, worker.holder, now)
    await http.live.leases.hold(job.job_run, worker.holder, kept, now=now)
    return [
        Leased(image=one.task.image, uri=one.task.uri, token=_token(http, job, one.task.image, kept[one.task.image]))
        for one in chosen
    ]


async def _plan(http: HttpServices, lease: Lease, report: Report | None) -> attempts.Plan:
    """How to lease the task; one that was often handed back but seldom opened is leased singly, not failed."""
    plan = reported_errors.plan(lease.delivery, report)
    if plan is attempts.Plan.FAIL_UNOPENED and await http.open_attempts.count(lease.task) < attempts.OPENED_AT_LEAST:
        return attempts.Plan.ALONE
    return plan


async def _note_open_attempts(http: HttpServices, tasks: Sequence[messages.Task]) -> None:
    """Count an open attempt of each task; if opening it kills the worker, the count remains."""
    for task in tasks:
        try:
            await http.open_attempts.note(task)
        except errors.Unavailable as error:
            logger.warning("an open attempt of image %d is not counted: %s", task.image, error)


def _kept(leases: Sequence[Lease], holder: int, now: float) -> dict[ImageId, KeptLease]:
    return {
        one.task.image: KeptLease(
            holder=holder,
            epoch=one.epoch,
            sequence=one.ack.sequence,
            place=one.ack.place,
            delivery=one.delivery,
            since=now,
            uri=one.task.uri if holder == NOBODY else "",
        )
        for one in leases
    }


async def _give_parked(http: HttpServices, job: Job, worker: Token, image: ImageId, kept: KeptLease) -> Leased:
    task = messages.Task(
        job=job.job_id,
        generation=job.generation,
        image=image,
        uri=kept.uri,
        pipeline=job.pipeline,
        config_hash=job.config_hash,
    )
    await _note_open_attempts(http, [task])
    now = await http.live.leases.now()
    given = msgspec.structs.replace(kept, holder=worker.holder, since=now, uri="")
    await http.live.leases.hold(job.job_run, worker.holder, {image: given}, now=now)
    await http.live.workers.count(worker.holder, leased=1)
    return Leased(image=image, uri=kept.uri, token=_token(http, job, image, given))


def _token(http: HttpServices, job: Job, image: ImageId, kept: KeptLease) -> str:
    return http.signer.sign(
        LeaseClaim(
            job=job.job_id,
            generation=job.generation,
            image=image,
            delivery=kept.delivery,
            epoch=kept.epoch,
            sequence=kept.sequence,
            place=kept.place,
            worker=token_of(kept.holder),
            expires=int(time.time()) + ACCEPTED_FOR,
        )
    )


async def _fail_unopened(http: HttpServices, worker: Token, leases: Sequence[Lease]) -> None:
    results = [
        messages.Result(
            job=one.task.job,
            generation=one.task.generation,
            image=one.task.image,
            worker=worker.name,
            delivery=one.delivery,
            outcome="failed",
            reason=attempts.STOPPED_WORKER,
            retryable=True,
            created_at=datetime.now(UTC),
        )
        for one in leases
    ]
    logger.warning("job %s: %d images failed unopened: %s", leases[0].task.job, len(leases), attempts.STOPPED_WORKER)
    await http.sender.deliver([(result, one.ack) for result, one in zip(results, leases, strict=True)])


async def has_tasks(http: HttpServices, job_run: JobRun, epoch: Epoch) -> bool:
    """Whether a task of the job can be leased now. Raises `Unavailable`."""
    return await http.remote_leases.is_deliverable(job_run, epoch) or await http.live.leases.has_parked(job_run)


def ack_of(job_run: JobRun, lease: KeptLease | LeaseClaim) -> names.AckSubject:
    """Where to acknowledge, extend or hand back a task, from what was noted of its lease."""
    return names.AckSubject.of_task(
        job_run, lease.epoch, delivery=lease.delivery, sequence=lease.sequence, place=lease.place
    )


def raise_if_away(http: HttpServices) -> None:
    """Raise `Unavailable` while the queue cannot be reached, so that no worker takes it for empty."""
    if not http.remote_leases.is_connected:
        raise errors.Unavailable(NO_ANSWER)
