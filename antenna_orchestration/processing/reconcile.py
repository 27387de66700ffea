"""Reconcile: find the images of a job that the queue lost, and publish them again.

An image only ever moves forward: waiting task, unread result, settled in the catalog. So the reading order cursor,
tasks, results, catalog never calls a live image lost, and no other order is safe.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from antenna_orchestration.domain.ids import Epoch, ImageId, JobId
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.names import new_epoch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What one look at a job found and did."""

    # Images pending in the catalog that neither tasks nor results held.
    lost: int = 0
    # Whether the job's task consumer was gone and began a new life.
    reopened: bool = False


async def reconcile(services: Services, job_id: JobId, *, dry_run: bool = False) -> Reconciled:
    """Put back on the queue what it lost of an active job: consumer, announcement, tasks. Safe to repeat.

    Called by the job's collector when counts do not add up, and by the health check for jobs without one. An image that
    was never published lies beyond the cursor and is not lost. Raises `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    if job.status not in ACTIVE or job.epoch is None:
        return Reconciled()
    if not dry_run:
        await services.ensure_streams()
    reopened = await services.queue.counts(job.job_run, job.epoch) is None
    if not dry_run:
        epoch = await _next_epoch(services, job, job.epoch) if reopened else job.epoch
        if not await services.announcements.has(job.job_run, epoch):
            await services.announcements.announce(publish.announcement(job, epoch))
    lost = await _lost(services, job)
    count = len(lost)
    if lost and not dry_run:
        images = await services.catalog.images.to_publish_again(job.job_run, sorted(lost))
        # What the queue refuses was not lost: it was there, between two pages of the listing.
        count = await publish.republish(services, job, images)
    if (reopened or count) and not dry_run:
        await services.catalog.job_log.add(
            job_id,
            "lost_images",
            f"The queue lost {count} images{' and the job itself' if reopened else ''}; published again",
            level="WARNING",
            images=sorted(lost)[:20],
        )
        current = await services.catalog.jobs.get(job_id)
        if current.status not in ACTIVE or current.generation != job.generation:
            await publish.withdraw(services, job)
    return Reconciled(lost=count, reopened=reopened)


async def _next_epoch(services: Services, job: Job, lost: Epoch) -> Epoch:
    """Begin a new life of the job's consumer. An acknowledgement from the old one cannot settle anything in the new."""
    await services.catalog.generations.replace_epoch(job.job_run, lost, new_epoch())
    epoch = await services.catalog.generations.agree_on_epoch(job.job_run, lost)
    await services.queue.open(job.pipeline, job.job_run, epoch)
    return epoch


async def _lost(services: Services, job: Job) -> set[ImageId]:
    upto = job.published_upto
    waiting = await services.queue.waiting(job.pipeline, job.job_run)
    unread = await services.queue.unread_results(job.job_run)
    pending = await services.catalog.images.pending(job.job_run, upto=upto)
    return set(pending - waiting - unread)
