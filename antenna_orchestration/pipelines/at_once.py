"""How much goes through a device at once: less after its memory ran out, and gradually more again."""

from __future__ import annotations

from typing import Final

PATIENCE: Final = 16
"""Calls of full size that have to fit before twice as much is tried; twice as many after each further lack of memory.

A neighbour that took the memory for a minute costs little, and one that stays costs a failed call ever more seldom."""

LONGEST: Final = 4096
"""Calls that this may be at most."""


class AtOnce:
    """A number of items for one call; None while memory has never run out."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._patience = PATIENCE // 2
        self._fitted = 0

    def ran_out(self, items: int) -> int:
        """Memory ran out with so many; returns how many to try next."""
        self.limit = max(1, items // 2)
        self._patience = min(2 * self._patience, LONGEST)
        self._fitted = 0
        return self.limit

    def fitted(self, items: int) -> None:
        """A call with so many went through."""
        if self.limit is None or items < self.limit:
            return
        self._fitted += 1
        if self._fitted >= self._patience:
            self.limit *= 2
            self._fitted = 0
