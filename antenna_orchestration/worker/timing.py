"""The clocks and the dice that all stages of a worker share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from antenna_orchestration.domain import attempts, backoff


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """What a worker knows of time, and the random generator that spreads load; a test hands in its own."""

    # Monotonic, in seconds: what the worker decides by.
    clock: Callable[[], float] = time.monotonic
    dice: random.Random = field(default_factory=random.Random)
    # The moment now, for people to read.
    now: Callable[[], datetime] = _now

    def spread_out(self, seconds: float) -> float:
        """A delay until a task is offered again, spread as `attempts.RETRY_SPREAD` says."""
        return backoff.spread_out(seconds, attempts.RETRY_SPREAD, self.dice)
