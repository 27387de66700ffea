"""What one push worker is told when it is started, and what it says when it ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PushOptions:
    """Which service, for which project, and how. Times are seconds."""

    service: str
    project: str
    # Images of a post, unless the job says otherwise.
    batch_size: int = 1
    # Posts at the same time.
    parallel: int = 1
    # For the answer to a post; None takes a third of the lease.
    timeout: float | None = None
    # Leave after so long without work while the service is there; None stays.
    exit_when_idle: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PushSummary:
    """What a push worker did in its life."""

    worker: str
    # Why it left: `idle` or `asked`.
    reason: str
    # Images whose results are durable in the queue, by outcome.
    done: int
    failed: int
    # Tasks offered to everybody again.
    handed_back: int
