"""A push worker's options, and the summary that it returns when it ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PushOptions:
    """Which service a push worker posts to, for which project, and how. Times are seconds."""

    service: str
    project: str
    # Images per post, unless the job says otherwise.
    batch_size: int = 1
    # Posts at the same time.
    parallel: int = 1
    # Time-out of a post; None means a third of the lease.
    timeout: float | None = None
    # End after so long without work while the service is ready; None means never.
    exit_when_idle: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PushSummary:
    """What a push worker did."""

    worker: str
    # Why it ended: `idle` or `asked`.
    reason: str
    # Images whose results are durable in the queue, by outcome.
    done: int
    failed: int
    # Tasks offered to everybody again.
    handed_back: int
