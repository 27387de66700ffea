"""The clock and the dice that all stages of a worker share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from antenna_orchestration.domain import attempts, backoff


@dataclass(frozen=True, slots=True)
class Timing:
    """A monotonic clock, in seconds, and the random generator that spreads load; a test hands in its own."""

    clock: Callable[[], float] = time.monotonic
    dice: random.Random = field(default_factory=random.Random)

    def spread_out(self, seconds: float) -> float:
        """A delay until a task is offered again, spread as `attempts.RETRY_SPREAD` says."""
        return backoff.spread_out(seconds, attempts.RETRY_SPREAD, self.dice)
