"""What becomes of posted results, decided without input or output.

`accept_results` reads what the stores say of each result, has it judged here, and carries the verdicts out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from antenna_orchestration import errors
from antenna_orchestration.contract.results import Item
from antenna_orchestration.domain import messages, reported_errors
from antenna_orchestration.domain.http_lease import LeaseClaim
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.domain.job import ACTIVE, ImageStatus, JobStatus
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.live.leases import KeptLease

LONGEST_ID: Final = 18
"""Digits of an image's number; Python refuses to read thousands of them."""

Status = Literal["queued", "retry", "late", "rejected"]
"""`queued`: durable in the queue. `retry`: a failed attempt; the gateway looks at the image, and it is offered again
unless it cannot be read there either. `late`: the image is not open any more. `rejected`: not this worker's to report.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """One posted result, with what the stores say of it."""

    item: Item
    # The lease that the result is about; None when it is not a lease of this worker on a task of this job.
    claim: LeaseClaim | None = None
    # Why there is no claim.
    refusal: str = ""
    # The lease as the gateway keeps it; None when it ended.
    kept: KeptLease | None = None
    # The image's status, needed only when the lease ended; None for an image that the job run does not have.
    state: ImageStatus | None = None
    # What was reported about the image before.
    before: Report | None = None
    # Whether the worker reports the same error of its whole batch.
    shared: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What becomes of one posted result."""

    item: Item
    status: Status
    # Why, for people; empty when the image is done.
    detail: str = ""
    claim: LeaseClaim | None = None
    kept: KeptLease | None = None
    before: Report | None = None
    shared: bool = False
    # What to publish; set exactly when the status is `queued`.
    result: messages.Result | None = None

    @property
    def decided_image(self) -> ImageId | None:
        """The image, if this result decided what becomes of it: published, or to be tried again."""
        return self.claim.image if self.claim is not None and self.status in ("queued", "retry") else None


def claim_of(
    item: Item,
    token: LeaseClaim | None,
    kept: Mapping[ImageId, KeptLease],
    *,
    job_run: JobRun,
    worker: int,
) -> LeaseClaim:
    """The lease that a result is about: what its lease token says, or without one the lease `kept` for its image.

    `kept` are this worker's leases. Raises `InvalidInput` when the lease is not this worker's on a task of this job.
    """
    if token is not None:
        if token.job != job_run.job:
            raise errors.InvalidInput("the lease is of another job")
        if token.worker != worker:
            raise errors.InvalidInput("the lease is another worker's")
        return token
    image = image_number(item.image_id)
    lease = kept.get(image) if image is not None else None
    if image is None or lease is None:
        raise errors.InvalidInput("no reply_subject, and no lease of this worker for that image")
    return LeaseClaim(
        job=job_run.job,
        generation=job_run.generation,
        image=image,
        delivery=lease.delivery,
        epoch=lease.epoch,
        sequence=lease.sequence,
        place=lease.place,
        worker=worker,
        expires=0,
    )


def image_number(text: str | None) -> ImageId | None:
    """The image that a worker names; None when the text is not a number that an image can have."""
    return ImageId(int(text)) if text and len(text) <= LONGEST_ID and text.isascii() and text.isdecimal() else None


def judge(
    posted: Sequence[Posted],
    *,
    job_run: JobRun,
    status: JobStatus,
    decided: Set[ImageId],
    worker: str,
    max_attempts: int,
    now: datetime,
) -> list[Verdict]:
    """The verdict on each result, in order. `decided` are images that earlier results of the same post decided.

    `job_run` is the job as it is now, with its `status`. `worker` is the name that results carry, and `now` their time.
    """
    seen = set(decided)
    verdicts: list[Verdict] = []
    for one in posted:
        if one.claim is None:
            verdicts.append(Verdict(item=one.item, status="rejected", detail=one.refusal))
            continue
        item = _checked(one.item, one.claim.image)
        if (detail := _why_late(one, item, seen, job_run, status)) is not None:
            verdict = Verdict(item=item, status="late", detail=detail, claim=one.claim, kept=one.kept)
        else:
            verdict = _decide(one, item, one.claim, worker=worker, max_attempts=max_attempts, now=now)
        verdicts.append(verdict)
        if status in ACTIVE and one.claim.generation == job_run.generation:
            seen.add(one.claim.image)
    return verdicts


def _checked(item: Item, image: ImageId) -> Item:
    """The result, made unusable when it names another image than its lease does."""
    if item.image_id is None or item.image_id == str(image):
        return item
    return Item(
        kind="invalid",
        reply_subject=item.reply_subject,
        image_id=item.image_id,
        reason=f"the result names image {item.image_id}, not {image}",
    )


def _why_late(one: Posted, item: Item, seen: Set[ImageId], job_run: JobRun, status: JobStatus) -> str | None:
    """Why the result comes too late; None when it is in time."""
    assert one.claim is not None
    if one.claim.image in seen:
        return "posted twice"
    if status not in ACTIVE or one.claim.generation != job_run.generation:
        return f"the job is {status}"
    # Without a lease a success still helps an image that is not done; a failure says nothing new.
    is_open = item.kind == "done" and one.state in (ImageStatus.PENDING, ImageStatus.FAILED)
    if one.kept is None and not is_open:
        return f"the lease is over and the image {one.state or 'gone'}"
    return None


def _decide(one: Posted, item: Item, claim: LeaseClaim, *, worker: str, max_attempts: int, now: datetime) -> Verdict:
    """A result for the queue, or another attempt."""
    kept = one.kept
    # The latest delivery counts: the queue may have delivered the task anew while the worker had it.
    delivery = max(claim.delivery, kept.delivery if kept else 0)
    detail = ""
    if item.kind != "done":
        what = "its result cannot be used: " if item.kind == "invalid" else ""
        detail = f"{what}{item.reason}"[: messages.MAX_TEXT]
        if not reported_errors.is_final(
            one.before, detail, shared=one.shared, delivery=delivery, max_attempts=max_attempts
        ):
            return Verdict(
                item=item, status="retry", detail=detail, claim=claim, kept=kept, before=one.before, shared=one.shared
            )
    result = messages.Result(
        job=claim.job,
        generation=claim.generation,
        image=claim.image,
        worker=worker,
        delivery=delivery,
        outcome="done" if item.kind == "done" else "failed",
        reason=detail or None,
        retryable=item.kind != "done",
        width=item.width,
        height=item.height,
        detections=item.detections,
        timings=_timings(item, kept, now),
        created_at=now,
    )
    return Verdict(
        item=item,
        status="queued",
        detail=detail,
        claim=claim,
        kept=kept,
        before=one.before,
        shared=one.shared,
        result=result,
    )


def _timings(item: Item, kept: KeptLease | None, now: datetime) -> dict[str, float]:
    """What is known of the time that the image took; `held` needs a lease that is still kept."""
    timings = {"infer": item.seconds} if item.seconds else {}
    if kept is not None:
        # The clocks of Redis and of the gateway may differ.
        timings["held"] = max(now.timestamp() - kept.since, 0.001)
    return timings
