"""Reconcile a job with its stores: find what the queue and Redis lost, and put it back from the catalog, the record.

An image only ever moves forward: waiting task, unread result, committed in the catalog. So the reading order cursor,
tasks, results, catalog never calls a live image lost, and no other order is safe.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, ImageId, JobId
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.processing import clear_queue, publish
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)

MOST_NAMED = 1_000
"""Lost images that a line of the job's log names in its details."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What was put back on the queue."""

    # Images pending in the catalog that neither tasks nor results held; published again.
    lost: int = 0
    # Whether the job's task consumer was gone, and was made again with a new epoch.
    reopened: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What was put back on the queue, as in `Reconciled`, and in Redis."""

    lost: int
    reopened: bool
    # Whether Redis had no counters of the job, and has them now.
    counters: bool

    @property
    def is_needed(self) -> bool:
        """Whether anything was missing."""
        return bool(self.lost or self.reopened or self.counters)


async def rebuild(services: Services, job_id: JobId, *, dry_run: bool = False) -> Rebuilt:
    """Reconcile an active job, and put back its live counters; idempotent.

    For the health check and for people; a collector writes the counters by itself. A job of which nothing was published
    yet gets its first tasks. With `dry_run` nothing is written, and what would be is returned. Raises `NotFound`,
    `Unavailable`, and `Conflict` for a job that is over or being canceled.
    """
    job = await services.catalog.jobs.get(job_id)
    if job.status not in ACTIVE:
        raise errors.Conflict(f"job {job_id} is {job.status}: there is nothing of it to put back")
    published = 0
    if job.epoch is None and not dry_run:
        published = (await publish.publish(services, job_id, limit=publish.AT_SUBMIT)).stored
    found = await reconcile(services, job_id, dry_run=dry_run)
    counters = await _rebuild_counters(services, job, dry_run=dry_run)
    return Rebuilt(lost=found.lost + published, reopened=found.reopened, counters=counters)


async def reconcile(services: Services, job_id: JobId, *, dry_run: bool = False) -> Reconciled:
    """Put back on the queue what it lost of an active job: consumer, announcement, tasks; idempotent.

    The job's collector calls it when counts do not add up. An image that was never published lies beyond the cursor and
    is not lost. Raises `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    if job.status not in ACTIVE or job.epoch is None:
        return Reconciled()
    if not dry_run:
        await services.ensure_streams()
    undeliverable = await _are_undeliverable(services, job, job.epoch)
    if undeliverable and not dry_run:
        logger.warning("job %s: the queue holds tasks and delivers none", job_id)
        await services.queue.drop_tasks(job.pipeline, job.job_run)
    reopened = undeliverable or await services.queue.counts(job.job_run, job.epoch) is None
    if not dry_run:
        epoch = await publish.open_again(services, job, job.epoch) if reopened else job.epoch
        if not await services.announcements.has(job.job_run, epoch):
            await publish.announce(services, job, epoch)
    lost = await _lost(services, job, undeliverable=undeliverable)
    count = len(lost)
    if lost and not dry_run:
        images = await services.catalog.images.to_publish_again(job.job_run, sorted(lost))
        # Tasks that the queue refuses were not lost: they moved between two pages of the listing.
        count = await publish.republish(services, job, images)
    if (reopened or count) and not dry_run:
        await services.catalog.job_log.add(
            job_id,
            "lost_images",
            f"The queue lost {counted(count, 'image')}{' and the job itself' if reopened else ''}; published again",
            level="WARNING",
            images=sorted(lost)[:MOST_NAMED],
        )
        current = await services.catalog.jobs.get(job_id)
        if current.status not in ACTIVE or current.generation != job.generation:
            await clear_queue.clear_queue(services, job)
    return Reconciled(lost=count, reopened=reopened)


async def _are_undeliverable(services: Services, job: Job, epoch: Epoch) -> bool:
    """Whether the job's tasks are all ones that its consumer does not count, and so never delivers.

    After NATS' files lost their ends, acknowledged tasks are back in the stream, and a consumer may stand behind tasks
    that were never done. Its counts are read on both sides of the listing: unchanged, they leave no room for a task
    that was published or done meanwhile.
    """
    before = await services.queue.counts(job.job_run, epoch)
    if before is None or before.queued or before.leased:
        return False
    listed = await services.queue.waiting(job.pipeline, job.job_run)
    return bool(listed) and await services.queue.counts(job.job_run, epoch) == before


async def _lost(services: Services, job: Job, *, undeliverable: bool) -> set[ImageId]:
    """Images that are pending and on neither stream. The order of these lines is the one that the module explains.

    Tasks that are `undeliverable` do not count.
    """
    upto = job.published_upto
    waiting = set() if undeliverable else await services.queue.waiting(job.pipeline, job.job_run)
    unread = await services.queue.unread_results(job.job_run)
    pending = await services.catalog.images.pending(job.job_run, upto=upto)
    return set(pending - waiting - unread)


async def _rebuild_counters(services: Services, job: Job, *, dry_run: bool) -> bool:
    """Write the live counters if Redis has none; whether they were missing, and are there now unless `dry_run`."""
    if await services.live.counters.read(job.job_run) is not None:
        return False
    if dry_run:
        return True
    # A collector at work overwrites them within a second.
    counts = await services.catalog.images.count(job.job_id)
    await services.live.counters.write(job.job_run, JobProgress.of(counts))
    # While Redis does not answer they are still missing; then a collector, or the next health check, writes them.
    return await services.live.counters.read(job.job_run) is not None
