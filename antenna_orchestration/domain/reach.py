"""Which stores a worker can load from, in the words that jobs announce: `http`, `s3:<bucket>`, `file:<host>`."""

from __future__ import annotations

from collections.abc import Iterable

from antenna_orchestration.domain.job import DispatchMode, Job
from antenna_orchestration.domain.messages import Heartbeat


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
        and (worker.kind == "push") == (job.dispatch_mode is DispatchMode.SYNC)
        and worker.state != "waiting"
        and (not worker.projects or job.project in worker.projects)
        and covers(worker.reaches, job.source_kinds)
    )


def _matches(pattern: str, kind: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern
