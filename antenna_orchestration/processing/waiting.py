"""What one job waits for, from the catalog, the workers' heartbeats and its counters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from antenna_orchestration.domain import reach, stalls
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.processing import scale, served_here
from antenna_orchestration.processing.services import Services

STORE: Final = "store"
"""The act in a job's log: a store does not take what its run has collected. Its message begins with `STORE_WAITS`."""

STORE_WAITS: Final = "The job waits: "

LAUNCHES: Final = ("claimed", "relaunched")
"""The acts of the lines that say that a run of the job begins anew: it says itself what it waits for."""

SILENT_AFTER: Final = 60.0
"""Seconds of silence after which nobody is taken to collect a job."""


async def of_job(services: Services, job: Job, progress: JobProgress) -> str:
    """One line; empty for a job that moves or is over. Raises `Unavailable`."""
    if job.status.is_terminal:
        return ""
    workers = await services.heartbeats.workers()
    suspects = await services.catalog.jobs.suspects(claimed_for=600.0, silent_for=SILENT_AFTER, job_id=job.job_id)
    return stalls.waiting_for(
        job,
        workers,
        # A claimed one has no collector yet: it may wait in Dagster's queue for hours, and rightly so.
        silent={one.job_id for one in suspects if one.status is JobStatus.RUNNING},
        pending=progress.waiting,
        rate=progress.rate,
        reported=progress.reasons,
        unfit=await why_unfit(services, job, workers),
        held_up=(await scale.why_not_started(services, [job])).get(job.job_id, ""),
        store=await _store(services, job),
        now=datetime.now(UTC),
    )


async def _store(services: Services, job: Job) -> str:
    """The store that the job's run waits for, by what it said last of stores; empty if none."""
    last = await services.catalog.job_log.last(job.job_id, (STORE, *LAUNCHES))
    if last is None or last.action != STORE or not last.message.startswith(STORE_WAITS):
        return ""
    return last.message.removeprefix(STORE_WAITS)


async def why_unfit(services: Services, job: Job, workers: Sequence[Heartbeat]) -> str:
    """Why a job that no worker serves would not be served by one that is started on this machine.

    Empty if it would, if that is not known, and if a worker that is there says why itself. Raises `Unavailable`.
    """
    if not stalls.why_unserved(job, workers) or reach.why_not(workers, job):
        return ""
    return (await served_here.why_not(services, [job])).get(job.job_id, "")
