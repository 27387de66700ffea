"""The image fetcher's inbox. It is made before the stages, because the batcher, too, puts tasks back into it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from antenna_orchestration.worker.policy.load_concurrency import LoadConcurrency
from antenna_orchestration.worker.stages.tasks_in_hand import TaskInHand


class LoadQueue:
    """Tasks whose images are to be loaded, for any number of readers.

    The scheduler's tasks arrive through `ImageFetcher.add`; the batcher puts back those whose bytes were lost with the
    device process. Unbounded here: the scheduler leases no more than the measured speed allows. A task waits while its
    source has as many loads under way as it may have; those of other sources pass it.
    """

    def __init__(self, concurrency: LoadConcurrency, source_of: Callable[[str], str]) -> None:
        """`source_of` tells the host, bucket or mount of an image's URI."""
        self._concurrency = concurrency
        self._source_of = source_of
        self._waiting: deque[tuple[str, TaskInHand]] = deque()
        self._readers: deque[asyncio.Future[None]] = deque()
        # Set when the worker leaves: from then on no image is loaded again, and its task is handed back instead.
        self.is_closed = False

    def put(self, held: TaskInHand) -> None:
        """Load this task's image. Interactive tasks, and suspects of a device crash, go first."""
        source = self._source_of(held.lease.task.uri)
        if held.interactive or held.suspect:
            self._waiting.appendleft((source, held))
        else:
            self._waiting.append((source, held))
        if self._concurrency.has_room(source):
            self._wake(1)

    async def get(self) -> tuple[str, TaskInHand]:
        """The next task that may be loaded, and its source, as soon as there is one. It may be `gone` by then.

        It counts as under way until `done` is called for the source.
        """
        while (found := self._next()) is None:
            reader = asyncio.get_running_loop().create_future()
            self._readers.append(reader)
            await reader
        source, _ = found
        self._concurrency.began(source)
        return found

    def done(self, source: str) -> None:
        """A load from this source has ended, whatever came of it."""
        # Whoever ended it reads on, so that nobody else need be woken.
        self._concurrency.ended(source)

    def has_waiting(self, source: str) -> bool:
        """Whether a task of this source waits."""
        return any(other == source for other, _ in self._waiting)

    def look_again(self) -> None:
        """More may be loaded at a time than before."""
        self._wake(len(self._waiting))

    def close(self) -> None:
        """Say that nothing is to be loaded again; what waits already stays in hand."""
        self.is_closed = True

    def _next(self) -> tuple[str, TaskInHand] | None:
        full: set[str] = set()
        for place, (source, held) in enumerate(self._waiting):
            if source in full:
                continue
            if self._concurrency.has_room(source):
                del self._waiting[place]
                return source, held
            full.add(source)
        return None

    def _wake(self, readers: int) -> None:
        for _ in range(min(readers, len(self._readers))):
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(None)
