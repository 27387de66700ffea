"""The clock and the dice that all stages of a worker share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

SPREAD: Final = 0.2
"""Delays after which tasks are offered again are drawn within a fifth, so that they do not all return at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """A monotonic clock, in seconds, and the random generator that spreads load; a test hands in its own."""

    clock: Callable[[], float] = time.monotonic
    dice: random.Random = field(default_factory=random.Random)

    def spread_out(self, seconds: float) -> float:
        """The delay, give or take a fifth."""
        return seconds * self.dice.uniform(1 - SPREAD, 1 + SPREAD)
