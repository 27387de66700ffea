"""Exponential back-off as a pure function of the number of failures: no clock, no sleeping."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

_LARGEST_EXPONENT: Final = 64
"""Any back-off has reached its longest pause by then, and a float does not overflow yet."""

OF_RESTARTS: Final = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds before each restart of a process that ends again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that double from `first` to `longest` seconds, or grow by another factor.

    Each is drawn within `spread` of itself (0.2: give or take a fifth).
    """

    first: float
    longest: float
    factor: float = 2.0
    spread: float = 0.0

    def pause(self, failures: int, dice: random.Random | None = None) -> float:
        """Seconds to wait after `failures` failures in a row, 1 or more; drawn by `dice`, else by `random` itself."""
        exponent = min(failures - 1, _LARGEST_EXPONENT)
        return spread_out(min(self.first * self.factor**exponent, self.longest), self.spread, dice)


def spread_out(seconds: float, spread: float, dice: random.Random | None = None) -> float:
    """A pause drawn within `spread` of `seconds`, so that those who failed together do not all return at once."""
    if not spread:
        return seconds
    draw = random.uniform if dice is None else dice.uniform
    return seconds * draw(1 - spread, 1 + spread)
