"""What one worker is told when it is started, and what it says when it ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerOptions:
    """How this worker differs from what the settings say. Times are seconds."""

    # Pipelines to serve, by slug; empty serves every registered one.
    pipelines: tuple[str, ...] = ()
    # `auto`, `cpu`, `cuda` or `cuda:N`; None takes the setting.
    device: str | None = None
    # Images per inference batch; None takes the setting, and 0 is the pipeline's own choice.
    batch_size: int | None = None
    # Leave after so long without a task in hand; None stays.
    exit_when_idle: float | None = None
    # Leave, drained, after so long; None stays. For batch queues that end a job at a known time.
    max_lifetime: float | None = None
    # Port for Prometheus metrics at `/metrics`; None serves none.
    metrics_port: int | None = None
    # Whether pipelines that jobs need are fetched from the lake's store, where the jobs' projects allow that.
    pull: bool = False
    # Unique among all workers; None makes one of host, process id and a random part.
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSummary:
    """What a worker did in its life."""

    worker: str
    # Why it left: `idle`, `lifetime`, `asked`.
    reason: str
    # Images whose results are durable in the queue, by outcome.
    done: int
    failed: int
    # Tasks offered to everybody again: unstarted at the end or at a cancel, or met by a passing fault.
    handed_back: int
    # Results that could not be delivered and lie on disk for the next start.
    spooled: int
    # Seconds from start to end.
    lifetime: float
