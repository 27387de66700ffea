"""Accept: take the results that a worker behind the gateway posted, and end their leases.

A result is durable on the queue before the worker hears that it was taken. What the worker could not do is a failed
attempt; when it is the last one (`domain.reported_errors`), a failed image. Else `reported` decides beside the request.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.contract.results import Item, Reduction, reduction_of
from antenna_orchestration.dispatch import given_to_workers, judge_results, reported, turns
from antenna_orchestration.dispatch.judge_results import Posted, Status, Verdict
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import reported_errors
from antenna_orchestration.domain.access import Token, token_of
from antenna_orchestration.domain.http_lease import LeaseClaim
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.processing import retrying

logger = logging.getLogger(__name__)

CHUNK: Final = 64
"""Results published together."""

CHUNK_BYTES: Final = 8 * 2**20
"""Bytes of score vectors published together at most, beyond one result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What became of one posted result."""

    status: Status
    reply_subject: str
    image: ImageId | None = None
    # Why, for people; empty when the image is done.
    detail: str = ""


@dataclass(kw_only=True, slots=True)
class _Tally:
    """What a post adds to the worker's counters."""

    queued: int = 0
    # Results that the queue had already, of leases that were over.
    repeated: int = 0
    failed: int = 0
    # Errors, whatever became of them.
    reported: int = 0
    late: int = 0
    rejected: int = 0
    # When the decided images were leased.
    since: list[float] = field(default_factory=list)
    # Whose leases those were: a client of the same token may have posted them.
    holders: Counter[int] = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        self.queued += verdict.status == "queued"
        self.failed += verdict.status == "queued" and verdict.item.kind != "done"
        self.reported += verdict.status in ("queued", "retry") and verdict.item.kind != "done"
        self.late += verdict.status == "late"
        self.rejected += verdict.status == "rejected" or verdict.item.kind == "invalid"
        if verdict.kept is not None and verdict.decided_image is not None:
            self.since.append(verdict.kept.since)
            self.holders[verdict.kept.holder] += 1


async def accept(
    http: HttpServices, job: Job, worker: Token, items: Iterable[Item], *, size: int, deadline: float
) -> list[Taken]:
    """Take the results of a post of `size` bytes, in their order; what became of each.

    Waits for the queue until `deadline` (monotonic seconds) and raises `Unavailable` then: what was not published is
    still leased, and processed again. Idempotent: posting the same once more counts no image twice.
    """
    taken: list[Taken] = []
    tally = _Tally()
    decided: set[ImageId] = set()
    for chunk in _chunks(items):
        posted = await retrying.retry_until(deadline, lambda: _read(http, job, worker, chunk, decided))  # noqa: B023  # awaited here
        verdicts = judge_results.judge(
            posted,
            job_run=job.job_run,
            status=job.status,
            decided=decided,
            worker=worker.name,
            max_attempts=http.settings.max_attempts,
            now=datetime.now(UTC),
        )
        decided |= {one.decided_image for one in verdicts if one.decided_image is not None}
        repeated = await retrying.retry_until(deadline, lambda: _publish(http, verdicts))  # noqa: B023
        tally.repeated += min(repeated, sum(one.result is not None and one.kept is None for one in verdicts))
        await _strike_out(http, job, worker, verdicts)
        for verdict in verdicts:
            tally.add(verdict)
            taken.append(_taken(verdict))
    await _count(http, job, worker, tally, size)
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


def _taken(verdict: Verdict) -> Taken:
    return Taken(
        status=verdict.status,
        reply_subject=verdict.item.reply_subject or "",
        image=verdict.claim.image if verdict.claim else None,
        detail=verdict.detail,
    )


# Reading.


async def _read(
    http: HttpServices, job: Job, worker: Token, items: Sequence[Item], decided: Set[ImageId]
) -> list[Posted]:
    """What the stores say of each result. Raises `Unavailable` when the catalog is needed and does not answer."""
    tokens = [_token(http, item) for item in items]
    images = {token.image for token in tokens if isinstance(token, LeaseClaim)}
    for item in items:
        if not item.reply_subject and (image := judge_results.image_number(item.image_id)) is not None:
            images.add(image)
    kept = await _kept(http, job, worker, images)
    posted = [_posted(job, worker, item, token, kept) for item, token in zip(items, tokens, strict=True)]
    posted = await given_to_workers.with_given(http, job, posted)
    posted = await _with_reports(http, job, posted)
    # Only for these does the verdict depend on the image's status.
    over = {
        one.claim.image
        for one in posted
        if one.claim and one.kept is None and one.claim.generation == job.generation and one.claim.image not in decided
    }
    if not over or job.status not in ACTIVE:
        return posted
    states = await http.services.catalog.images.states(job.job_run, over)
    return [replace(one, state=states.get(one.claim.image)) if one.claim else one for one in posted]


async def _with_reports(http: HttpServices, job: Job, posted: Sequence[Posted]) -> list[Posted]:
    """The results with what is known of earlier errors, where they report errors themselves."""
    failed = {one.claim.image for one in posted if one.claim and one.item.kind != "done"}
    if not failed:
        return list(posted)
    before: Mapping[ImageId, Report] = await http.live.reports.find(job.job_run, failed)
    shared = reported_errors.shared_reasons([one.item.reason or "" for one in posted if one.item.kind == "failed"])
    return [
        replace(one, before=before.get(one.claim.image), shared=one.item.kind == "failed" and one.item.reason in shared)
        if one.claim and one.claim.image in failed
        else one
        for one in posted
    ]


def _token(http: HttpServices, item: Item) -> LeaseClaim | errors.InvalidInput | None:
    """What the result's lease token says, or why that cannot be known; None for a result without one."""
    if not item.reply_subject:
        return None
    try:
        return http.signer.read(LeaseClaim, item.reply_subject, now=time.time())
    except errors.InvalidInput as error:
        return error


async def _kept(http: HttpServices, job: Job, worker: Token, images: Set[ImageId]) -> Mapping[ImageId, KeptLease]:
    """The leases on the images that belong to this worker's token, whichever of its clients has them."""
    found = await http.live.leases.find(job.job_run, images)
    return {image: lease for image, lease in found.items() if token_of(lease.holder) == worker.token_id}


def _posted(
    job: Job,
    worker: Token,
    item: Item,
    token: LeaseClaim | errors.InvalidInput | None,
    kept: Mapping[ImageId, KeptLease],
) -> Posted:
    if isinstance(token, errors.InvalidInput):
        return Posted(item=item, refusal=str(token))
    try:
        claim = judge_results.claim_of(item, token, kept, job_run=job.job_run, worker=worker.token_id)
    except errors.InvalidInput as error:
        return Posted(item=item, refusal=str(error))
    return Posted(item=item, claim=claim, kept=kept.get(claim.image))


# Carrying out.


async def _publish(http: HttpServices, verdicts: Sequence[Verdict]) -> int:
    """Make results durable and acknowledge their tasks; how many the queue had already. Idempotent."""
    results = [
        (one.result, ack_of(one.result.job_run, one.claim))
        for one in verdicts
        if one.result is not None and one.claim is not None
    ]
    return await http.sender.deliver(results) if results else 0


async def _strike_out(http: HttpServices, job: Job, worker: Token, verdicts: Sequence[Verdict]) -> None:
    """End the leases of what was published, and let `reported` decide what becomes of reported errors.

    When the queue does not answer, leases end by themselves and the images are offered again after that.
    """
    reports = await reported.note(http, job.job_run, worker.holder, verdicts)
    retried = {one.claim.image: one for one in verdicts if one.claim is not None and one.status == "retry"}
    by_holder: dict[int, list[ImageId]] = {}
    for one in verdicts:
        if one.kept is not None and one.decided_image is not None:
            by_holder.setdefault(one.kept.holder, []).append(one.decided_image)
    try:
        for holder, images in by_holder.items():
            struck_out = await http.live.leases.take(job.job_run, holder, images)
            questions = [
                reported.Reported(
                    image=image,
                    lease=lease,
                    reason=retried[image].detail,
                    shared=retried[image].shared,
                    before=retried[image].before,
                    report=reports[image],
                )
                for image, lease in struck_out.items()
                if image in retried
            ]
            reported.take_up(http, job, worker, questions)
    except errors.Unavailable as error:
        logger.warning("leases of worker %s end by themselves: %s", worker.name, error)
    http.live.reports.forget(job.job_run, [one.claim.image for one in verdicts if one.claim and one.status == "queued"])


async def _count(http: HttpServices, job: Job, worker: Token, tally: _Tally, size: int) -> None:
    # Of several processes with one token, the one that had the images is counted and measured, and still there.
    holder = tally.holders.most_common(1)[0][0] if tally.holders else worker.holder
    await http.live.workers.count(
        holder,
        settled=tally.queued - tally.repeated,
        failed=tally.failed,
        reported=tally.reported,
        late=tally.late,
        rejected=tally.rejected,
        bytes=size,
    )
    if tally.since:
        now = await http.live.leases.now()
        for one in tally.holders:
            await http.live.workers.heard(one, now=now)
        known = await http.live.workers.get(holder)
        await turns.posted(http, job, holder, tally.since, before=known.posted)
        began = max(known.posted, min(tally.since))
        batch = now - sum(tally.since) / len(tally.since)
        speed = known.speed.after(len(tally.since), seconds=now - began, batch=max(batch, 0.001))
        await http.live.workers.measured(holder, speed, now=now)
