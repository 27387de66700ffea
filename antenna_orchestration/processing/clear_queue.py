"""Clear the queue: remove from NATS and Redis all that they hold of a job in one generation."""

from __future__ import annotations

import logging

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobRun, PipelineSlug
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)


async def clear_queue(services: Services, job: Job) -> None:
    """Remove all that the queue and Redis hold of the job's generation. Raises `Unavailable`.

    Whoever ends a job calls it, and so does whoever may have published for a job that was ended meanwhile: it is
    idempotent, and the last caller leaves nothing behind.
    """
    await clear_job_run(services, job.job_run, job.pipeline)


async def clear_job_run(services: Services, job_run: JobRun, pipeline: PipelineSlug | None) -> None:
    """Delete the announcement, then consumers, tasks and results, then what Redis has; idempotent.

    `pipeline` is None for a job that the catalog does not know. Raises `Unavailable`.
    """
    await services.announcements.withdraw(job_run)
    await services.queue.close(pipeline, job_run)
    await services.live.counters.forget(job_run)
    try:
        await services.live.reports.forget_job(job_run)
    except errors.Unavailable as error:
        logger.warning("reported errors of job %s stay until they expire: %s", job_run.job, error)
