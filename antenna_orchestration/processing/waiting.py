"""What one job waits for, from the catalog, the workers' heartbeats and its counters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from antenna_orchestration.domain import stalls
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.processing.services import Services

SILENT_AFTER: Final = 60.0
"""Seconds of silence after which nobody is taken to collect a job."""

MANY: Final = 100_000


async def of_job(services: Services, job: Job, progress: JobProgress) -> str:
    """One line; empty for a job that moves or is over. Raises `Unavailable`."""
    if job.status.is_terminal:
        return ""
    suspects = await services.catalog.jobs.suspects(claimed_for=600.0, silent_for=SILENT_AFTER, limit=MANY)
    return stalls.waiting_for(
        job,
        await services.heartbeats.workers(),
        silent={one.job_id for one in suspects if one.job_id == job.job_id},
        pending=progress.waiting,
        rate=progress.rate,
        reported=progress.reasons,
        now=datetime.now(UTC),
    )
