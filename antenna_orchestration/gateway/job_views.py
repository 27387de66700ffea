"""A job in the form of the contract, with its progress in the stages collect, process and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration.contract import models, statuses
from antenna_orchestration.domain import job_config
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.processing import waiting


async def job_view(gateway: Gateway, job: Job, *, logs: int = 0, says_why: bool = False) -> models.JobDetail:
    """The job with its current counters and the newest `logs` lines of its log.

    With `says_why` its reason is what it waits for, as `antenna jobs show` has it, while nothing decides it otherwise.
    """
    services = gateway.http.services
    live = None if job.status.is_terminal else await services.live.counters.read(job.job_run)
    progress = live or JobProgress.of(await services.catalog.images.count(job.job_id))
    waits = await waiting.of_job(services, job, progress) if says_why else progress.waits
    lines = await services.catalog.job_log.newest(job.job_id, logs) if logs else []
    return models.JobDetail(
        id=job.job_id,
        name=job.name,
        project=job.project,
        project_id=job.project_id,
        pipeline_slug=job.pipeline,
        config=_shown(job.config),
        status=statuses.WIRE[job.status],
        status_reason=job.status_reason or waits or None,
        dispatch_mode=job.dispatch_mode,
        detections_of=job.detections_of,
        generation=job.generation,
        priority=job.priority,
        due_at=job.due_at,
        interactive=job.interactive,
        total=job.total,
        done=progress.done,
        failed=progress.failed,
        waiting=max(job.total - progress.accounted, 0),
        skipped=job.skipped,
        duplicates=job.duplicates,
        detections=progress.detections,
        classifications=progress.classifications,
        created_by=job.created_by,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        progress=_stages(job, progress),
        logs=[models.LogEntry(at=line.at, level=line.level, action=line.action, message=line.told) for line in lines],
    )


def _shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, unless it is one that would not be taken today and cannot be written into an answer."""
    try:
        job_config.check(config)
    except errors.InvalidInput as error:
        return {"omitted": str(error)}
    return dict(config)


def _stages(job: Job, progress: JobProgress) -> models.Progress:
    published = min(job.published_upto, job.total)
    accounted = progress.accounted
    stages = [
        _stage(job, "collect", "Collect", published / job.total if job.total else 1.0, total_images=job.total),
        _stage(
            job,
            "process",
            "Process",
            accounted / job.total if job.total else 1.0,
            processed=accounted,
            remaining=max(job.total - accounted, 0),
            failed=progress.failed,
        ),
        _stage(
            job,
            "results",
            "Results",
            accounted / job.total if job.total else 1.0,
            captures=progress.done,
            detections=progress.detections,
            classifications=progress.classifications,
        ),
    ]
    summary = models.ProgressSummary(
        status=statuses.WIRE[job.status], progress=round(sum(stage.progress for stage in stages) / len(stages), 4)
    )
    return models.Progress(summary=summary, stages=stages)


def _stage(job: Job, key: str, name: str, progress: float, **numbers: int) -> models.Stage:
    if progress >= 1 and job.status is not JobStatus.FAILURE:
        status = statuses.WIRE[JobStatus.SUCCESS]
    elif job.status.is_terminal or progress > 0:
        status = statuses.WIRE[job.status]
    else:
        status = statuses.WIRE[JobStatus.QUEUED]
    return models.Stage(
        key=key,
        name=name,
        status=status,
        progress=round(min(progress, 1.0), 4),
        params=[
            models.StageParameter(name=parameter.replace("_", " ").capitalize(), key=parameter, value=value)
            for parameter, value in numbers.items()
        ],
    )
