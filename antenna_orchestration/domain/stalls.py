"""Why an active job stands still, if it does: the rule of the health checks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from antenna_orchestration.domain.job import DispatchMode, Job, JobStatus
from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.domain.reach import can_serve, why_not

UNSERVED_AFTER: Final = 60.0
"""Seconds after which a job without a worker is a fault; a worker that the autoscaler starts needs half of it."""

STILL_AFTER: Final = 90.0
"""Seconds without a result from any worker of a job, after which it stands still."""

LOADING_AFTER: Final = 600.0
"""Seconds that a worker may load models, which may be downloads."""


def why_unserved(job: Job, workers: Sequence[Heartbeat]) -> str:
    """Why no worker serves the job; empty if one does, or if it has no images."""
    if not job.total or any(can_serve(worker, job) for worker in workers):
        return ""
    if job.dispatch_mode is DispatchMode.SYNC:
        return f"no processing service serves {job.pipeline} (`antenna push`)"
    if any(job.pipeline in worker.pipelines for worker in workers):
        return f"no worker for {job.pipeline} reaches {', '.join(job.source_kinds)}"
    return f"no worker listens for {job.pipeline}" + why_not(workers, job)


def waits_since(job: Job) -> datetime:
    """When the job began to wait for its workers."""
    return max(at for at in (job.created_at, job.claimed_at, job.started_at) if at)


def is_unserved_for_long(job: Job, now: datetime) -> bool:
    """Whether a job without a worker has waited longer than a worker takes to start."""
    return (now - job.created_at).total_seconds() > UNSERVED_AFTER


def why_still(job: Job, workers: Sequence[Heartbeat], *, silent: Collection[int], rate: float, now: datetime) -> str:
    """Why a RUNNING job that has workers makes no progress; empty if it does, or may.

    `silent` are the jobs whose collector is not heard; `rate` is the number of images per second that the collector has
    committed lately. Workers share their time among jobs, so that only a worker that delivers nothing at all stands
    still.
    """
    if job.status is not JobStatus.RUNNING or (now - waits_since(job)).total_seconds() < STILL_AFTER:
        return ""
    if job.job_id in silent:
        return "nobody collects its results; is the sensor queued_jobs running?"
    serving = [worker for worker in workers if can_serve(worker, job)]
    if rate > 0 or not serving or any(_may_deliver(worker, now) for worker in serving):
        return ""
    held = sum(worker.leased for worker in serving)
    last = max((worker.last_result_at for worker in serving if worker.last_result_at), default=None)
    when = f"{(now - last).total_seconds():.0f} s ago" if last else "never"
    names = ", ".join(worker.worker for worker in serving[:3])
    return f"its workers hold {held} tasks and deliver nothing; the last result came {when} ({names})"


def _may_deliver(worker: Heartbeat, now: datetime) -> bool:
    """Whether a worker delivers, or has begun so lately that it need not have."""
    patience = LOADING_AFTER if worker.state == "loading" else STILL_AFTER
    return (now - (worker.last_result_at or worker.started_at)).total_seconds() < patience
