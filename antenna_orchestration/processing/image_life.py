"""The life of one image of a job: what became of it so far, put together from what the stores have.

Nothing is written for it on an image's normal path. The catalog's row says how it ended, with the worker and the times
of that; the queue has its task or its result for as long as they wait; Redis has the lease of an HTTP worker for as
long as that lasts, and what such workers reported about an open image; and the job's log has what is unusual. What none
of them has is said, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.catalog.images import ImageRow
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import DispatchMode, ImageStatus, Job, LogLine
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.reported_errors import Report
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.live.scripts import NOBODY
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.tasks import QueuedTask

ABOUT_ALL: Final = ("submitted", "published", "retried", "canceling", "canceled", "finished")
"""Lines of a job's log that are about all of its images."""

TASKS_OF_OTHERS: Final = 5
"""Workers that are named when one of them has the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Something that happened to the image."""

    # None when the time is not known.
    at: datetime | None
    # As one word that can be searched for; of a line of the job's log, its action.
    what: str
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"at": self.at, "what": self.what, "detail": self.detail}


@dataclass(kw_only=True, slots=True)
class ImageLife:
    """What is known of one image."""

    job: Job
    row: ImageRow
    # One line: where the image is now.
    now: str = ""
    moments: list[Moment] = field(default_factory=list)
    # What no store has recorded, or cannot say now.
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        row = self.row
        return {
            "job_id": self.job.job_id,
            "image_id": row.image_id,
            "url": row.url,
            "generation": row.generation,
            "status": str(row.status),
            "now": self.now,
            "worker": row.worker if row.status is not ImageStatus.PENDING else None,
            "attempts": row.attempts,
            "reason": row.reason,
            "part": row.part,
            "detections": row.detections,
            "classifications": row.classifications,
            "moments": [moment.as_dict() for moment in self.moments],
            "unknown": self.unknown,
        }


async def read(services: Services, job_id: JobId, image: ImageId) -> ImageLife:
    """What is known of an image of the job. Raises `NotFound`, and `Unavailable` without the catalog."""
    job = await services.catalog.jobs.get(job_id)
    unknown: list[str] = []
    # The catalog comes last: what moves on meanwhile moves toward it.
    lease, holder = await _lease(services, job, image, unknown)
    report, reporter = await _report(services, job, image, unknown)
    task, has_result = await _on_queue(services, job, image, unknown)
    lines = await services.catalog.job_log.about(job_id, image, actions=ABOUT_ALL)
    row = await services.catalog.images.find(job_id, image)
    if row is None:
        raise errors.NotFound(f"job {job_id} has no image {image}; the lake's table `captures` lists those it has")
    life = ImageLife(job=job, row=row, unknown=unknown)
    life.moments = [Moment(at=line.at, what=line.action, detail=_of_line(line, image)) for line in lines]
    told = sum(line.details.get("generation") == row.generation for line in lines)
    if report is not None:
        life.moments.append(_reported(report, reporter))
        told += report.answered
    if task is not None and task.published_at is not None:
        life.moments.append(
            Moment(at=task.published_at.astimezone(UTC), what="queued", detail="its task was published")
        )
    if row.status is ImageStatus.PENDING:
        if lease is not None:
            life.moments.append(_leased(lease, holder))
        life.now = await _where(services, life, lease=lease, holder=holder, task=task, has_result=has_result)
        if lease is not None:
            _tell_unknown(life, lease.delivery - 1, told)
    else:
        life.moments += _accounted_for(row)
        life.now = f"{row.status}{f': {row.reason}' if row.reason else ''}"
        _tell_unknown(life, row.attempts - 1, told)
        if row.leased_at is None:
            unknown.append("when its worker got it: the result does not tell")
    life.moments.sort(key=lambda moment: moment.at or datetime.max.replace(tzinfo=UTC))
    return life


async def _lease(services: Services, job: Job, image: ImageId, unknown: list[str]) -> tuple[KeptLease | None, str]:
    """The lease of an HTTP worker on the image, and that worker's name."""
    try:
        lease = await services.live.leases.of_image(job.job_run, image)
        if lease is None or lease.holder == NOBODY:
            return lease, ""
        return lease, (await services.live.workers.get(lease.holder)).name
    except errors.Unavailable:
        unknown.append("whether an HTTP worker has it: Redis cannot be reached")
        return None, ""


async def _report(services: Services, job: Job, image: ImageId, unknown: list[str]) -> tuple[Report | None, str]:
    """What HTTP workers reported about the image, and the name of the last of them."""
    try:
        report = (await services.live.reports.find(job.job_run, [image])).get(image)
        if report is None or not report.reason:
            return None, ""
        return report, (await services.live.workers.get(report.holders[-1])).name if report.holders else ""
    except errors.Unavailable:
        unknown.append("whether an HTTP worker reported an error: Redis cannot be reached")
        return None, ""


async def _on_queue(services: Services, job: Job, image: ImageId, unknown: list[str]) -> tuple[QueuedTask | None, bool]:
    """The image's task on the queue, and whether a result waits there."""
    if job.epoch is None or job.status.is_terminal:
        return None, False
    try:
        has_result = await services.queue.has_unread_result(job.job_run, image)
        return await services.queue.find(job.pipeline, job.job_run, job.epoch, image), has_result
    except errors.Unavailable:
        unknown.append("whether its task is on the queue: NATS cannot be reached")
        return None, False


def _leased(lease: KeptLease, holder: str) -> Moment:
    at = datetime.fromtimestamp(lease.since, UTC)
    if lease.holder == NOBODY:
        return Moment(at=at, what="parked", detail=f"delivery {lease.delivery}; it is leased to a worker by itself")
    return Moment(at=at, what="leased", detail=f"by {holder or 'an HTTP worker'}, delivery {lease.delivery}")


def _reported(report: Report, reporter: str) -> Moment:
    times = report.own + report.shared + report.passing
    often = "" if times == 1 else f", the last of {times}"
    alone = "; it is tried alone" if report.alone else ""
    at = datetime.fromtimestamp(report.at, UTC)
    return Moment(at=at, what="reported", detail=f"by {reporter or 'an HTTP worker'}{often}: {report.reason}{alone}")


def _accounted_for(row: ImageRow) -> list[Moment]:
    by = f"by {row.worker}" if row.worker else ""
    found = []
    if row.leased_at is not None:
        found.append(Moment(at=row.leased_at, what="leased", detail=f"{by}, delivery {row.attempts}"))
    if row.posted_at is not None:
        found.append(Moment(at=row.posted_at, what="posted", detail=by))
    what = (
        f"{counted(row.detections, 'detection')}, part {row.part}"
        if row.status is ImageStatus.DONE
        else row.reason or ""
    )
    found.append(Moment(at=row.finished_at, what=str(row.status), detail=what))
    return found


async def _where(
    services: Services,
    life: ImageLife,
    *,
    lease: KeptLease | None,
    holder: str,
    task: QueuedTask | None,
    has_result: bool,
) -> str:
    """Where a pending image is."""
    if life.job.status.is_terminal:
        return f"pending, and the job is over ({life.job.status}): `antenna jobs retry {life.job.job_id}` does it"
    if has_result:
        return "its result is posted and waits to be collected"
    if lease is not None:
        return f"leased by {holder or 'an HTTP worker'}" if lease.holder != NOBODY else "parked in the gateway"
    if task is not None:
        return await _on_its_way(services, life.job, task)
    if not life.row.is_published:
        return "not published yet"
    return "neither its task nor its result is on the queue: it moves just now, or is lost and published again"


async def _on_its_way(services: Services, job: Job, task: QueuedTask) -> str:
    """Where an image is that no HTTP worker has, as far as the queue says it."""
    if not task.was_delivered:
        return "waits on the queue; nobody has leased it yet"
    if not task.some_are_leased:
        return "waits on the queue; it was leased before"
    named = await _with_leases(services, job)
    return f"was leased before; it waits, or one of these has it: {named}" if named else "leased, or waits again"


async def _with_leases(services: Services, job: Job) -> str:
    """Workers on the queue that hold tasks and serve the job's pipeline; the queue does not say whose is whose."""
    kind = "push" if job.dispatch_mode is DispatchMode.SYNC else "nats"
    workers = await services.heartbeats.workers()
    names = [one.worker for one in workers if one.kind == kind and one.leased and job.pipeline in one.pipelines]
    more = f" and {len(names) - TASKS_OF_OTHERS} more" if len(names) > TASKS_OF_OTHERS else ""
    return ", ".join(names[:TASKS_OF_OTHERS]) + more


def _tell_unknown(life: ImageLife, deliveries: int, told: int) -> None:
    """Say how many earlier deliveries are recorded nowhere but in the queue's count."""
    if deliveries > told:
        missing = deliveries - told
        which = "delivery" if missing == 1 else "deliveries"
        life.unknown.append(
            f"what became of {missing} earlier {which}: a worker on the queue lost it or handed it back, "
            "or an error was reported and it was tried again"
        )


def _of_line(line: LogLine, image: ImageId) -> str:
    """What a line of the job's log says of this image; its message may name many others."""
    details = line.details
    if "deliveries" not in details:
        return line.message
    delivery = dict(zip(details["images"], details["deliveries"], strict=False)).get(image)
    return f"by {details['worker']} after {duration(details['leased_for'])}, delivery {delivery}: {details['why']}"
