"""Cancel: stop publishing, leasing and collecting a job, and free what it holds on the queue."""

from __future__ import annotations

from typing import Final

from antenna_orchestration import kernel
from antenna_orchestration.domain import who
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import clear_queue
from antenna_orchestration.processing.services import Services

TERMINATED: Final = "the run was terminated"
"""Why a job was canceled whose run a person terminated."""


async def cancel(services: Services, job_id: JobId, *, reason: str, by: str = "") -> bool:
    """Cancel the job; False when it is over already. Idempotent: a half-done cancellation is completed.

    `by` is who asked for it, for the log: whoever runs this process if not said.

    As soon as the announcement is gone, workers hand back the tasks that they have not started. Committed images stay,
    and a retry continues from there. Raises `NotFound` and `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    asked = await services.catalog.jobs.cancel(job_id, reason, by=by or kernel.user_of_this_process())
    if not asked and job.status is not JobStatus.CANCELING:
        return False
    await complete_cancellation(services, job_id)
    return True


async def cancel_with_run(services: Services, job: Job, *, run_id: str) -> bool:
    """Cancel the job because a person terminated this run, which is in charge of it; idempotent.

    False when the job goes on: once every image is accounted for, only tables are left to be written, and another run
    does that; and when another run has taken the job up since `job` was read. Raises `Unavailable`.
    """
    if not await services.catalog.jobs.cancel_with_run(job, TERMINATED, by=who.dagster_run(run_id)):
        return False
    await complete_cancellation(services, job.job_id)
    return True


async def complete_cancellation(services: Services, job_id: JobId) -> None:
    """Complete the cancellation of a job that is CANCELING; idempotent, does nothing to a job in any other status."""
    job = await services.catalog.jobs.get(job_id)
    if job.status is not JobStatus.CANCELING:
        return
    await clear_queue.clear_queue(services, job)
    if await services.catalog.jobs.finish(job.job_run, JobStatus.CANCELED, job.status_reason, said="Canceled"):
        # A publisher that did not see CANCELING yet may have published tasks between the two lines above.
        await clear_queue.clear_queue(services, job)
