"""The image fetcher's inbox. It is made before the stages, because the batcher, too, puts tasks back into it."""

from __future__ import annotations

import asyncio
from collections import deque

from antenna_orchestration.worker.stages.tasks_in_hand import TaskInHand


class LoadQueue:
    """Tasks whose images are to be loaded, for any number of readers.

    The scheduler's tasks arrive through `ImageFetcher.add`; the batcher puts back those whose bytes were lost with the
    device process. Unbounded here: the scheduler leases no more than the measured speed allows.
    """

    def __init__(self) -> None:
        self._waiting: deque[TaskInHand] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        # Set when the worker leaves: from then on no image is loaded again, and its task is handed back instead.
        self.is_closed = False

    def put(self, held: TaskInHand) -> None:
        """Load this task's image. Interactive tasks, and suspects of a device crash, go first."""
        if held.interactive or held.suspect:
            self._waiting.appendleft(held)
        else:
            self._waiting.append(held)
        if self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)

    async def get(self) -> TaskInHand:
        """The next task, as soon as there is one. It may be `gone` by then."""
        while not self._waiting:
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            await reader
        return self._waiting.popleft()

    def close(self) -> None:
        """Say that nothing is to be loaded again; what waits already stays in hand."""
        self.is_closed = True
