"""The budget in bytes for compressed images in hand."""

from __future__ import annotations

import asyncio
from collections import deque


class MemoryBudget:
    """Bytes that may be in use together, given out in the order asked for.

    Who asks for more than the whole budget gets it once nobody else holds any: such an image is alone, not stuck.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes that nobody holds or waits for."""
        return max(0, self.total - self.used - sum(size for size, _ in self._waiting))

    async def take(self, size: int) -> None:
        """Wait until so many bytes are free, and hold them until `give`."""
        if not self._waiting and self._fits(size):
            self.used += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            else:
                self._waiting = deque(waiter for waiter in self._waiting if waiter[1] is not turn)
                self._next()
            raise

    def take_at_once(self, size: int) -> bool:
        """Hold so many bytes if they are free now; False if not."""
        if self._waiting or self.used + size > self.total:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Let go of bytes taken before."""
        self.used -= size
        self._next()

    def _next(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self.used += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.total
