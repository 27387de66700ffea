"""Whether the worker's loops go round: what `/livez` answers.

A loop that dies ends the worker, and whoever started it sees that. One that waits for ever for an answer that never
comes would not be seen: the worker leases nothing more, or is not heard any more, and its process lives on. The loops
here come round every few seconds whatever the queue, the images and the device do; without NATS, too, since nothing is
mended by starting a worker again whose queue is away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

SILENT: Final = 120.0
"""Seconds without a turn after which a loop is taken to stand still; each turns every five seconds at the latest, and a
machine that swaps or was asleep may take a while."""


class Pulse:
    """When each loop came round last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turned: dict[str, float] = {}

    def turn(self, loop: str) -> None:
        """The loop comes round."""
        self._turned[loop] = self._clock()

    def end(self, loop: str) -> None:
        """The loop has ended, as it should."""
        self._turned.pop(loop, None)

    def why_dead(self) -> str:
        """Which loop stands still, and for how long; empty if none does."""
        now = self._clock()
        for loop, turned in self._turned.items():
            if now - turned > SILENT:
                return f"the worker's {loop} has stood still for {now - turned:.0f} s"
        return ""
