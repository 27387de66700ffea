"""Accept: take the results that a worker behind the gateway posted, and settle their leases.

A result is durable on the queue before the worker hears that it was taken. What the worker could not do is a failed
attempt; when it is the last one (`domain.attempts`), a failed image.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from antenna_orchestration import errors
from antenna_orchestration.contract.results import Item, Reduction, reduction_of
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import attempts, messages
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.http_lease import LeaseClaim
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import ACTIVE, ImageStatus, Job
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.processing import retrying

logger = logging.getLogger(__name__)

CHUNK: Final = 64
"""Results published together."""

CHUNK_BYTES: Final = 8 * 2**20
"""Bytes of score vectors published together at most, beyond one result."""

LONGEST_ID: Final = 18
"""Digits of an image's number; Python refuses to read thousands of them."""

Status = Literal["queued", "retry", "late", "rejected"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What became of one posted result."""

    # `queued`: durable. `retry`: a failed attempt, the image is offered again. `late`: the image is not open any more.
    # `rejected`: not this worker's to report.
    status: Status
    reply_subject: str
    image: ImageId | None = None
    # Why, for people; empty when the image is done.
    detail: str = ""


@dataclass(kw_only=True, slots=True)
class _Verdict:
    """One posted result on its way."""

    item: Item
    # What the lease token says; for a result without one, what the gateway keeps of this worker's lease.
    claim: LeaseClaim | None = None
    # The lease as the gateway keeps it; None when it ended, or was settled before.
    kept: KeptLease | None = None
    status: Status = "rejected"
    detail: str = ""
    result: messages.Result | None = None


@dataclass(kw_only=True, slots=True)
class _Tally:
    settled: int = 0
    # Results that the queue had already, of leases that were over.
    repeated: int = 0
    failed: int = 0
    late: int = 0
    rejected: int = 0
    # When the settled images were leased.
    since: list[float] = field(default_factory=list)

    def add(self, verdict: _Verdict) -> None:
        self.settled += verdict.status == "queued"
        self.failed += verdict.status == "queued" and verdict.item.kind != "done"
        self.late += verdict.status == "late"
        self.rejected += verdict.status == "rejected" or verdict.item.kind == "invalid"
        if verdict.kept is not None and verdict.status in ("queued", "retry"):
            self.since.append(verdict.kept.since)


async def accept(
    http: HttpServices, job: Job, worker: Token, items: Iterable[Item], *, size: int, deadline: float
) -> list[Taken]:
    """Take the results of a post of `size` bytes, in their order; what became of each.

    Waits for the queue until `deadline` (monotonic seconds) and raises `Unavailable` then: what was not published is
    still leased, and done again. The same post once more settles nothing twice.
    """
    taken: list[Taken] = []
    tally = _Tally()
    settled: set[ImageId] = set()
    for chunk in _chunks(items):
        verdicts = [_Verdict(item=item) for item in chunk]
        await retrying.retry_until(deadline, lambda: _judge(http, job, worker, verdicts, settled))  # noqa: B023  # awaited here
        settled |= {one.claim.image for one in verdicts if one.claim and one.status in ("queued", "retry")}
        repeated = await retrying.retry_until(deadline, lambda: _publish(http, verdicts))  # noqa: B023
        tally.repeated += min(repeated, sum(one.result is not None and one.kept is None for one in verdicts))
        await _strike_out(http, job, worker, verdicts)
        for verdict in verdicts:
            tally.add(verdict)
            taken.append(
                Taken(
                    status=verdict.status,
                    reply_subject=verdict.item.reply_subject or "",
                    image=verdict.claim.image if verdict.claim else None,
                    detail=verdict.detail,
                )
            )
    await _count(http, worker, tally, size)
    return taken


async def reduction(http: HttpServices, job: Job) -> Reduction:
    """How the job's scores are kept, and what its pipeline's classes are called. Raises `Unavailable`."""
    pipeline = await http.services.catalog.pipelines.find(job.pipeline)
    algorithms = {one.key: (one.version, list(one.labels)) for one in pipeline.algorithms} if pipeline else {}
    return reduction_of(job.config, top_k=http.settings.top_k, algorithms=algorithms)


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += sum(len(one.scores or b"") for found in item.detections for one in found.classifications)
        if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


async def _judge(
    http: HttpServices, job: Job, worker: Token, verdicts: Sequence[_Verdict], settled: Set[ImageId]
) -> None:
    """Say of each result what is to become of it; `settled` had theirs in this post. Changes nothing outside."""
    kept = await _kept(http, job, worker, verdicts)
    seen = set(settled)
    for verdict in verdicts:
        verdict.status, verdict.detail, verdict.result = "rejected", "", None
        try:
            verdict.claim = _claim(http, job, worker, verdict.item, kept)
        except errors.InvalidInput as error:
            verdict.detail = str(error)
            continue
        image = verdict.claim.image
        if verdict.item.image_id is not None and verdict.item.image_id != str(image):
            verdict.item = _unusable(verdict.item, f"the result names image {verdict.item.image_id}, not {image}")
        verdict.kept = kept.get(image)
        if image in seen:
            verdict.status, verdict.detail = "late", "posted twice"
        elif job.status not in ACTIVE or verdict.claim.generation != job.generation:
            verdict.status, verdict.detail = "late", f"the job is {job.status}"
        else:
            verdict.status = "queued"
            seen.add(image)
    unkept = [one for one in verdicts if one.status == "queued" and one.kept is None and one.claim]
    states = await http.services.catalog.images.states(
        job.job_run, [one.claim.image for one in unkept if one.claim]
    ) if unkept else {}  # fmt: skip
    for verdict in unkept:
        state = states.get(verdict.claim.image) if verdict.claim else None
        if verdict.item.kind != "done" or state not in (ImageStatus.PENDING, ImageStatus.FAILED):
            verdict.status, verdict.detail = "late", f"the lease is over and the image {state or 'gone'}"
    for verdict in verdicts:
        if verdict.status == "queued":
            _decide(http, worker, verdict)


async def _kept(
    http: HttpServices, job: Job, worker: Token, verdicts: Sequence[_Verdict]
) -> Mapping[ImageId, KeptLease]:
    """This worker's leases among the images that the results are about; none while Redis is away."""
    images: set[ImageId] = set()
    for verdict in verdicts:
        if verdict.item.reply_subject:
            try:
                claim = http.signer.read(LeaseClaim, verdict.item.reply_subject, now=time.time())
            except errors.InvalidInput:
                continue
            images.add(claim.image)
        elif (image := _number(verdict.item.image_id)) is not None:
            images.add(image)
    try:
        found = await http.leases.find(job.job_id, job.generation, images)
    except errors.Unavailable as error:
        logger.warning("leases of worker %s are not known: %s", worker.name, error)
        return {}
    return {image: lease for image, lease in found.items() if lease.holder == worker.token_id}


def _claim(http: HttpServices, job: Job, worker: Token, item: Item, kept: Mapping[ImageId, KeptLease]) -> LeaseClaim:
    """The lease that a result is about. Raises `InvalidInput` when it is not this worker's of this job."""
    if item.reply_subject:
        claim = http.signer.read(LeaseClaim, item.reply_subject, now=time.time())
        if claim.job != job.job_id:
            raise errors.InvalidInput("the lease is of another job")
        if claim.worker != worker.token_id:
            raise errors.InvalidInput("the lease is another worker's")
        return claim
    image = _number(item.image_id)
    lease = kept.get(image) if image is not None else None
    if image is None or lease is None:
        raise errors.InvalidInput("no reply_subject, and no lease of this worker for that image")
    return LeaseClaim(
        job=job.job_id,
        generation=job.generation,
        image=image,
        delivery=lease.delivery,
        epoch=lease.epoch,
        sequence=lease.sequence,
        place=lease.place,
        worker=worker.token_id,
        expires=0,
    )


def _number(text: str | None) -> ImageId | None:
    """The image that a worker names; None when it is no number that an image has."""
    return ImageId(int(text)) if text and len(text) <= LONGEST_ID and text.isascii() and text.isdecimal() else None


def _unusable(item: Item, reason: str) -> Item:
    return Item(kind="invalid", reply_subject=item.reply_subject, image_id=item.image_id, reason=reason)


def _decide(http: HttpServices, worker: Token, verdict: _Verdict) -> None:
    """A result for the queue, or another attempt."""
    item, claim = verdict.item, verdict.claim
    assert claim is not None
    # The latest delivery counts: the queue may have delivered the task anew while the worker had it.
    delivery = max(claim.delivery, verdict.kept.delivery if verdict.kept else 0)
    if item.kind != "done":
        what = "its result cannot be used: " if item.kind == "invalid" else ""
        verdict.detail = f"{what}{item.reason}"[: messages.MAX_TEXT]
        if not attempts.is_final(delivery, http.settings.max_attempts):
            verdict.status = "retry"
            return
    verdict.result = messages.Result(
        job=claim.job,
        generation=claim.generation,
        image=claim.image,
        worker=worker.name,
        delivery=delivery,
        outcome="done" if item.kind == "done" else "failed",
        reason=verdict.detail or None,
        retryable=item.kind != "done",
        detections=item.detections,
        timings={"infer": item.seconds} if item.seconds else {},
        created_at=datetime.now(UTC),
    )


async def _publish(http: HttpServices, verdicts: Sequence[_Verdict]) -> int:
    """Make what is queued durable, and acknowledge its tasks; how many the queue had already. Again is harmless."""
    results = [
        (one.result, ack_of(one.claim.job, one.claim.generation, one.claim))
        for one in verdicts
        if one.result is not None and one.claim is not None
    ]
    return await http.sender.deliver(results) if results else 0


async def _strike_out(http: HttpServices, job: Job, worker: Token, verdicts: Sequence[_Verdict]) -> None:
    """End the leases of what was published, and offer again what is to be tried again.

    Should Redis or the queue be away now, leases end by themselves and the images are offered again after that.
    """
    images = [one.claim.image for one in verdicts if one.claim and one.status in ("queued", "retry") and one.kept]
    if not images:
        return
    try:
        taken = await http.leases.take(job.job_id, job.generation, worker.token_id, images)
        now = await http.leases.now()
        for verdict in verdicts:
            if verdict.status != "retry" or verdict.claim is None:
                continue
            lease = taken.get(verdict.claim.image)
            # Past its time it may be somebody else's: then it is not ours to hand back.
            if lease is not None and now - lease.confirmed < http.settings.task_ack_wait:
                delay = attempts.retry_delay(lease.delivery) * random.uniform(0.8, 1.2)  # noqa: S311
                await http.remote_leases.hand_back([ack_of(job.job_id, job.generation, lease)], delay)
    except errors.Unavailable as error:
        logger.warning("leases of worker %s end by themselves: %s", worker.name, error)


async def _count(http: HttpServices, worker: Token, tally: _Tally, size: int) -> None:
    try:
        await http.workers.count(
            worker.token_id,
            settled=tally.settled - tally.repeated,
            failed=tally.failed,
            late=tally.late,
            rejected=tally.rejected,
            bytes=size,
        )
        if tally.since:
            now = await http.leases.now()
            known = await http.workers.get(worker.token_id)
            began = max(known.posted, min(tally.since))
            batch = now - sum(tally.since) / len(tally.since)
            speed = known.speed.after(len(tally.since), seconds=now - began, batch=max(batch, 0.001))
            await http.workers.measured(worker.token_id, speed, now=now)
    except errors.Unavailable as error:
        # The results are durable; only the counters lack them.
        logger.warning("worker %s is not counted: %s", worker.name, error)
