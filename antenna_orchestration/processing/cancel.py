"""Cancel: stop publishing, leasing and collecting a job, and free what it holds on the queue."""

from __future__ import annotations

from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services


async def cancel(services: Services, job_id: JobId, *, reason: str) -> bool:
    """Cancel the job; False when it is over already. Safe to repeat: a half-done cancellation is completed.

    Workers hand back what they have not started as soon as the announcement is gone; what was already settled stays,
    and a retry goes on from there. Raises `NotFound` and `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    asked = await services.catalog.jobs.cancel(job_id, reason)
    if asked:
        await services.catalog.job_log.add(job_id, "canceling", f"Canceling: {reason}")
    elif job.status is not JobStatus.CANCELING:
        return False
    await complete_cancellation(services, job_id)
    return True


async def complete_cancellation(services: Services, job_id: JobId) -> None:
    """Complete the cancellation of a job that is CANCELING; anything else is left alone."""
    job = await services.catalog.jobs.get(job_id)
    if job.status is not JobStatus.CANCELING:
        return
    await publish.withdraw(services, job)
    if await services.catalog.jobs.finish(job.job_run, JobStatus.CANCELED, job.status_reason):
        # A publisher that was past its last look may have put tasks back between the two lines above.
        await publish.withdraw(services, job)
        await services.catalog.job_log.add(job_id, "canceled", "Canceled")
