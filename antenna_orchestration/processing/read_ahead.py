"""Reading a job's results ahead of their commit: while one batch is committed, the next is pulled and decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Generic, TypeVar

from antenna_orchestration import kernel
from antenna_orchestration.queue.results import Received, ResultFeed

BATCH: Final = 2_000
"""Most results that are committed together."""

FLUSH: Final = 1.0
"""Most seconds that a result waits for others to be committed with it."""

B = TypeVar("B")


class ReadAhead(Generic[B]):
    """Batches of a feed, each as `decode` makes it. Use it as an async context manager.

    At most three batches are in memory: one with the caller, one ready for it, one being read.
    """

    def __init__(
        self, feed: ResultFeed, *, missing: Callable[[], int], decode: Callable[[Sequence[Received]], B]
    ) -> None:
        self._feed = feed
        self._missing = missing
        self._decode = decode
        self._batches: asyncio.Queue[tuple[Sequence[Received], B]] = asyncio.Queue(maxsize=1)
        # Results that were pulled and are not committed yet.
        self._in_hand = 0
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ReadAhead[B]:
        self._reading = asyncio.create_task(self._read(), name="read results")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            # What reading raised, `next` has raised already.
            await kernel.end(self._reading)

    async def next(self) -> tuple[Sequence[Received], B]:
        """The next batch, empty if nothing came for a second. After the last one, raises what reading raised."""
        assert self._reading is not None
        getting = asyncio.create_task(self._batches.get(), name="await results")
        try:
            await asyncio.wait({getting, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                self._reading.result()
            return await getting
        finally:
            getting.cancel()

    def committed(self, received: Sequence[Received]) -> None:
        """Note that a batch was committed."""
        self._in_hand -= len(received)

    async def _read(self) -> None:
        while not kernel.is_cancelled():
            # No more than are still missing, so that the pull ends as soon as the last result arrives.
            wanted = max(min(BATCH, self._missing() - self._in_hand), 1)
            received = await self._feed.pull(wanted, wait=FLUSH)
            self._in_hand += len(received)
            await self._batches.put((received, self._decode(received)))
