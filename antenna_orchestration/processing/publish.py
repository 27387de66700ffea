"""Publish: put a job's pending images on the queue, from the cursor, a chunk at a time.

Submission calls it for the first 200 images of every job, the sensor for 10,000 images per tick, and the asset
`image_tasks` for the rest; what the queue lost is published again by the collector's checks. Each call starts at the
cursor and raises it after the queue's confirmations; where two overlap, the server refuses the second copy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import given_boxes, messages
from antenna_orchestration.domain.ids import Epoch, JobId
from antenna_orchestration.domain.job import ACTIVE, DispatchMode, ImageToPublish, Job
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import clear_queue
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.names import new_epoch

logger = logging.getLogger(__name__)

AT_SUBMIT: Final = 200
"""Images that submission publishes itself, so that a worker can lease within 0.3 s however large the job is."""

AT_CLAIM: Final = 10_000
"""Images that one tick of the sensor publishes, so that workers are busy while runs start. It takes a fraction of a
second, because the tick shares its threads with other sensors."""

CHUNK: Final = 1_000
"""Tasks in flight without confirmation; at most so many are published twice after a crash."""

CHUNK_WITH_BOXES: Final = 50
"""The same for tasks that carry boxes; 10,000 boxes are a message of nearly 1 MB."""

FULL_PAUSE: Final = 1.0
"""Seconds between attempts while the stream is at its byte limit, until workers have made room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What one call did."""

    # Tasks that the queue stored, and tasks that it refused because it had them already.
    stored: int = 0
    refused: int = 0
    # The cursor now: all images up to this ordinal were published.
    upto: int = 0
    # Whether the job has no image left beyond the cursor.
    complete: bool = False


async def publish(
    services: Services, job_id: JobId, *, limit: int | None = None, on_chunk: Callable[[int], None] | None = None
) -> Published:
    """Publish the job's next `limit` pending images, or all; idempotent, and calls may overlap.

    Opens the job on the queue and announces it after its first tasks. Publishes nothing for a job that is not active,
    and withdraws what it published if the job was canceled meanwhile. When the stream is full, it raises `QueueFull`
    with a `limit`, and waits for room without. Raises `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    if job.status not in ACTIVE or job.total == 0:
        return Published(upto=job.published_upto, complete=True)
    await services.ensure_streams()
    epoch = await _open(services, job)
    left = job.total if limit is None else limit
    stored = refused = 0
    cursor = job.published_upto
    announced = False
    status = job.status
    reading = asyncio.create_task(_next(services, job, cursor, left), name=f"read images of job {job_id}")
    try:
        while images := await reading:
            # The next chunk is read while this one is being published.
            left -= len(images)
            reading = asyncio.create_task(_next(services, job, images[-1].ordinal, left), name=reading.get_name())
            confirmed = await _publish_chunk(services, job, images, wait_for_room=limit is None)
            stored += confirmed[0]
            refused += confirmed[1]
            cursor = images[-1].ordinal
            status = await services.catalog.generations.advance_cursor(job.job_run, cursor)
            if status not in ACTIVE:
                break
            if not announced:
                await announce(services, job, epoch)
                announced = True
            if on_chunk:
                on_chunk(cursor)
    finally:
        reading.cancel()
    if status in ACTIVE:
        if left:
            # There were fewer images than asked for, so none is pending beyond the cursor.
            cursor = job.total
        status = await services.catalog.generations.advance_cursor(job.job_run, cursor)
    if status not in ACTIVE:
        await clear_queue.clear_queue(services, job)
    elif not announced:
        await announce(services, job, epoch)
    return Published(stored=stored, refused=refused, upto=cursor, complete=cursor >= job.total)


async def _open(services: Services, job: Job) -> Epoch:
    """Make the job's consumer unless it is there; returns its epoch."""
    epoch = await services.catalog.generations.agree_on_epoch(job.job_run, job.epoch or new_epoch())
    # Before the first tasks another caller may be about to make it.
    is_lost = job.published_upto > 0 and await services.queue.counts(job.job_run, epoch) is None
    if not is_lost and await services.queue.open(job.pipeline, job.job_run, epoch):
        return epoch
    return await open_again(services, job, epoch)


async def open_again(services: Services, job: Job, lost: Epoch) -> Epoch:
    """Make a consumer in place of one that the queue lost; returns its epoch, which is a new one.

    So acknowledgements that name the lost one have no effect on it, and files that are left of the lost one, damaged by
    a power loss, do not matter. Raises `Unavailable`.
    """
    await services.catalog.generations.replace_epoch(job.job_run, lost, new_epoch())
    # Of two callers at once one may just have made its own, and there can only be one.
    await services.queue.drop_consumers(job.job_run)
    epoch = await services.catalog.generations.agree_on_epoch(job.job_run, lost)
    if not await services.queue.open(job.pipeline, job.job_run, epoch):
        raise errors.Unavailable(f"opening job {job.job_id}: NATS cannot store its consumer; its log says why")
    return epoch


async def publish_first(services: Services, job_id: JobId) -> str | None:
    """Publish the first tasks, so that a worker can lease at once; returns a warning if the queue does not answer."""
    try:
        await publish(services, job_id, limit=AT_SUBMIT)
    except errors.Unavailable as error:
        return f"the queue cannot be reached, the tasks are published later: {error}"
    return None


async def republish(services: Services, job: Job, images: Sequence[ImageToPublish]) -> int:
    """Publish the given images again, wherever the cursor is; returns how many of them the queue did not have."""
    stored = 0
    chunk = CHUNK if job.detections_of is None else CHUNK_WITH_BOXES
    for start in range(0, len(images), chunk):
        confirmed = await _publish_chunk(services, job, images[start : start + chunk], wait_for_room=True)
        stored += confirmed[0]
    return stored


async def announce(
    services: Services, job: Job, epoch: Epoch, *, some_done: bool = False, forbidden_since: datetime | None = None
) -> None:
    """Announce the job to workers; `some_done` and the rest as in the announcement. Raises `Unavailable`."""
    terms = await services.catalog.generations.terms(job.job_run)
    announcement = messages.Announcement(
        v=_version(job, is_bound=terms.digest is not None),
        job=job.job_id,
        generation=job.generation,
        epoch=epoch,
        pipeline=job.pipeline,
        config=job.config,
        config_hash=job.config_hash,
        priority=job.priority,
        interactive=job.interactive,
        source_kinds=job.source_kinds,
        total=job.total,
        name=job.name,
        dispatch_mode=job.dispatch_mode,
        pipeline_version=terms.version,
        algorithms=list(terms.algorithms),
        some_done=some_done,
        ack_wait=services.settings.task_ack_wait,
        forbidden_since=forbidden_since,
        digest=terms.digest or msgspec.UNSET,
        pull=True if terms.pulls and terms.digest else msgspec.UNSET,
    )
    await services.announcements.announce(announcement)


def _version(job: Job, *, is_bound: bool) -> int:
    """The announcement's: workers that would misunderstand the job refuse it."""
    if is_bound and not registry.is_built_in(job.pipeline):
        return messages.BOUND
    if job.detections_of is not None:
        return messages.GIVEN
    return messages.VERSION if job.dispatch_mode is DispatchMode.ASYNC else messages.PUSHED


async def _next(services: Services, job: Job, after: int, left: int) -> list[ImageToPublish]:
    limit = min(CHUNK if job.detections_of is None else CHUNK_WITH_BOXES, left)
    return await services.catalog.images.to_publish(job.job_run, after=after, limit=limit)


async def _publish_chunk(
    services: Services, job: Job, images: Sequence[ImageToPublish], *, wait_for_room: bool
) -> tuple[int, int]:
    tasks = [
        messages.Task(
            job=job.job_id,
            generation=job.generation,
            image=image.image,
            uri=image.uri,
            pipeline=job.pipeline,
            config_hash=job.config_hash,
            captured_at=image.captured_at,
            deployment=image.deployment,
            version=image.version,
            detections=msgspec.UNSET if image.boxes is None else given_boxes.unpacked(image.boxes),
        )
        for image in images
    ]
    while True:
        try:
            confirmed = await services.queue.publish(tasks)
        except errors.QueueFull:
            if not wait_for_room:
                raise
            current = await services.catalog.jobs.get(job.job_id)
            if current.status not in ACTIVE or current.generation != job.generation:
                return 0, 0
            logger.info("job %s: the queue is full, waiting for room", job.job_id)
            await asyncio.sleep(FULL_PAUSE)
        else:
            return confirmed.stored, confirmed.refused
