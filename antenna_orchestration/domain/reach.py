"""Which stores a worker can load from, in the words that jobs announce: `http`, `s3:<bucket>`, `file:<host>`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from antenna_orchestration.domain.job import DispatchMode, Job
from antenna_orchestration.domain.messages import Heartbeat

MOST_REASONS: Final = 3
"""Workers that are quoted; the reason is mostly the same with all."""


def covers(reached: Iterable[str], kinds: Iterable[str]) -> bool:
    """Whether every one of a job's source kinds is reached; a pattern's `*` at its end stands for any ending.

    A job that announces no kinds is taken to be reached.
    """
    reached = tuple(reached)
    return all(any(_matches(pattern, kind) for pattern in reached) for kind in kinds)


def can_serve(worker: Heartbeat, job: Job) -> bool:
    """Whether a worker listens for such jobs and can load their images, or the service that it posts to can."""
    return (
        job.pipeline in worker.pipelines
        and str(job.job_id) not in worker.refused
        and (worker.kind == "push") == (job.dispatch_mode is DispatchMode.SYNC)
        and worker.state != "waiting"
        and (not worker.projects or job.project in worker.projects)
        and covers(worker.reaches, job.source_kinds)
    )


def some_serve(workers: Iterable[Heartbeat], job: Job) -> bool:
    """Whether any of the workers can serve the job."""
    return any(can_serve(worker, job) for worker in workers)


def why_not(workers: Iterable[Heartbeat], job: Job) -> str:
    """Why workers that would serve a job's pipeline do not, as a sentence's end; empty when there are none."""
    reasons = []
    for worker in workers:
        if job.pipeline in worker.failing:
            reasons.append(f"{worker.worker} cannot load it: {worker.failing[job.pipeline]}")
        elif reason := worker.refused.get(str(job.job_id)):
            reasons.append(f"{worker.worker} leaves it alone: {reason}")
    return "".join(f"; {reason}" for reason in reasons[:MOST_REASONS])


def why_out_of_reach(workers: Iterable[Heartbeat], job: Job) -> str:
    """Why those workers that listen for a job's pipeline, and do not refuse the job, cannot serve it."""
    reasons = [f"{worker.worker} {_hindrance(worker, job)}" for worker in workers]
    return "; ".join(reasons[:MOST_REASONS])


def _hindrance(worker: Heartbeat, job: Job) -> str:
    if (worker.kind == "push") != (job.dispatch_mode is DispatchMode.SYNC):
        return "posts to a processing service" if worker.kind == "push" else "does not post to processing services"
    if worker.state == "waiting":
        return f"waits for the processing service {worker.service or 'that it posts to'}"
    if worker.projects and job.project not in worker.projects:
        return f"serves other projects: {', '.join(worker.projects)}"
    missing = [kind for kind in job.source_kinds if not covers(worker.reaches, [kind])]
    return f"cannot read {', '.join(missing)} (ANTENNA_WORKER_REACHES)"


def _matches(pattern: str, kind: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern
