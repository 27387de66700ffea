"""What to do with a task, decided by whoever leased it: from the delivery count, and after ten from open attempts too.

One place for worker and gateway. Handing back costs a delivery but not the image's life: only a worker that itself
failed on the image, or an image that was opened again and again without anybody reporting back, ends as failed.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

ALONE_FROM: Final = 3
"""From this delivery on a task is processed alone, so that a crash it causes affects no other task."""

UNOPENED_AFTER: Final = 10
"""A task received at a higher delivery is failed unopened."""

OPENED_AT_LEAST: Final = 3
"""Open attempts (`queue.open_attempts`) such a task must have: with fewer it was only handed back, which is not its
fault, and it is processed alone."""

STOPPED_WORKER: Final = "stopped its worker repeatedly"

RETRY_DELAYS: Final = (5.0, 30.0, 120.0, 600.0)
"""Seconds before a task that met a temporary fault is redelivered, by delivery, before `RETRY_SPREAD`."""

RETRY_SPREAD: Final = 0.2
"""Share by which those delays are longer or shorter, so that tasks that failed together do not return together."""


class Plan(Enum):
    """How to take a leased task."""

    BATCH = "batch"
    ALONE = "alone"
    # If it was opened often enough, else `ALONE`.
    FAIL_UNOPENED = "fail unopened"


def plan(delivery: int) -> Plan:
    """How to take a task at its n-th delivery."""
    if delivery > UNOPENED_AFTER:
        return Plan.FAIL_UNOPENED
    return Plan.ALONE if delivery >= ALONE_FROM else Plan.BATCH


def is_final(delivery: int, max_attempts: int) -> bool:
    """Whether a worker that just failed on the image itself publishes the failure instead of handing back."""
    return delivery >= max_attempts


def retry_delay(delivery: int) -> float:
    """Seconds until a task that met a temporary fault at this delivery is redelivered."""
    return RETRY_DELAYS[min(delivery, len(RETRY_DELAYS)) - 1]
