"""Limits how many bytes of compressed images a worker holds at the same time."""

from __future__ import annotations

import asyncio
from collections import deque


class MemoryBudget:
    """A budget of `total` bytes; reservations are granted in the order in which they were asked for.

    A reservation larger than the whole budget is granted once nothing else is reserved, so that a very large image
    waits until it is alone instead of waiting for ever.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes that are neither reserved nor waited for."""
        return max(0, self.total - self.used - sum(size for size, _ in self._waiting))

    async def reserve(self, size: int) -> None:
        """Wait until `size` bytes are free and reserve them. The caller frees them with `release`."""
        if not self._waiting and self._fits(size):
            self.used += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size)
            else:
                self._waiting = deque(waiter for waiter in self._waiting if waiter[1] is not turn)
                self._grant_waiting()
            raise

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes if they are free now; return whether they were."""
        if self._waiting or self.used + size > self.total:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Free `size` bytes that were reserved before."""
        self.used -= size
        self._grant_waiting()

    def _grant_waiting(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.total
