"""Whether what one side waits for from the other still moves: by the bytes in a window, not by the time in all."""

from __future__ import annotations

from typing import Final

SLOWEST: Final = 512
"""Bytes per second below which a body or an answer is given up: a tenth of what a poor mobile link carries."""


class Throughput:
    """Bytes that moved in the present window of `window` seconds. Times are monotonic seconds."""

    __slots__ = ("_moved", "_since", "_window")

    def __init__(self, window: float, *, now: float) -> None:
        self._window = window
        self.restart(now)

    def restart(self, now: float) -> None:
        """Begin a new window: the other side is not to blame for what was before."""
        self._since = now
        self._moved = 0

    def add(self, size: int) -> None:
        """Count bytes that moved."""
        self._moved += size

    def is_too_slow(self, now: float) -> bool:
        """Whether fewer bytes than `SLOWEST` a second moved in a window that is over; then the next one begins."""
        if now - self._since < self._window:
            return False
        is_too_slow = self._moved < SLOWEST * self._window
        self.restart(now)
        return is_too_slow
