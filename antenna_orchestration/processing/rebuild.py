"""Rebuild: put back of one job what NATS and Redis should hold of it, from the catalog, which is the record."""

from __future__ import annotations

from dataclasses import dataclass

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import ACTIVE, Job
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.processing import publish, reconcile
from antenna_orchestration.processing.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Rebuilt:
    """What was put back."""

    # Images pending in the catalog that neither tasks nor results held; published again.
    lost: int
    # Whether the job's consumer was gone, and made again.
    reopened: bool
    # Whether Redis had no counters of the job, and has now.
    counters: bool

    @property
    def is_needed(self) -> bool:
        """Whether anything was missing."""
        return bool(self.lost or self.reopened or self.counters)


async def rebuild(services: Services, job_id: JobId, *, dry_run: bool = False) -> Rebuilt:
    """Put back consumer, announcement, lost tasks and live counters of an active job. Safe to repeat.

    A job nothing was published of yet gets its first tasks. With `dry_run` nothing is written, and what would be is
    returned. Raises `NotFound`, `Conflict` for a job that is over or canceling, and `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    if job.status not in ACTIVE:
        raise errors.Conflict(f"job {job_id} is {job.status}: there is nothing of it to put back")
    published = 0
    if job.epoch is None and not dry_run:
        published = (await publish.publish(services, job_id, limit=publish.AT_SUBMIT)).stored
    found = await reconcile.reconcile(services, job_id, dry_run=dry_run)
    counters = await services.live.counters.read(job.job_run) is None
    if counters and not dry_run:
        await _restore_counters(services, job)
        # Not while Redis is away: then a collector, or the next round, writes them.
        counters = await services.live.counters.read(job.job_run) is not None
    return Rebuilt(lost=found.lost + published, reopened=found.reopened, counters=counters)


async def _restore_counters(services: Services, job: Job) -> None:
    """Count in the catalog; a collector at work writes over it within a second."""
    counts = await services.catalog.images.count(job.job_id)
    await services.live.counters.write(job.job_run, JobProgress.of(counts))
