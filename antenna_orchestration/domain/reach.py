"""Which stores a worker can load from, in the words that jobs announce: `http`, `s3:<bucket>`, `file:<host>`."""

from __future__ import annotations

from collections.abc import Iterable

from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.messages import Heartbeat


def covers(reached: Iterable[str], kinds: Iterable[str]) -> bool:
    """Whether every one of a job's source kinds is reached; a pattern's `*` at its end stands for any ending.

    A job that announces no kinds is taken to be reached.
    """
    reached = tuple(reached)
    return all(any(_matches(pattern, kind) for pattern in reached) for kind in kinds)


def can_serve(worker: Heartbeat, job: Job) -> bool:
    """Whether a worker listens for the job's pipeline, works for its project and can load its images."""
    for_it = worker.projects is None or job.project_id in worker.projects
    return for_it and job.pipeline in worker.pipelines and covers(worker.reaches, job.source_kinds)


def _matches(pattern: str, kind: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern
