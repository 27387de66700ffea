"""Threads for what is done with the disks and stores of watched sources, which may hang: one at a time for each source.

`Work` advances an iterator of `submission/watching.py` in slices. A slice that takes long is not given up: its thread
goes on beside the rounds of `new_captures.py`, and a later round takes what it found. So whatever answers at all comes
forward, and what hangs for days holds one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Final, Generic, TypeVar, cast

from antenna_orchestration import errors

logger = logging.getLogger(__name__)

SLICE: Final = 1.0
"""Seconds after which what was found is handed on."""

MOST: Final = 2_000
"""Things that are handed on together."""

ANSWERS_WITHIN: Final = 15.0
"""Seconds in which a slice is done, unless the disk or store hangs."""

T = TypeVar("T")


class Failed(Exception):
    """A source cannot be looked at now; the message says why."""


class Work(Generic[T]):
    """Something that is done for a source, in slices; one caller at a time."""

    def __init__(self, items: Iterator[T | None]) -> None:
        """Nothing is begun. `items` is advanced on one thread at a time, and may raise what a disk or store does."""
        self._items = items
        self._calling: Future[tuple[list[T], bool]] | None = None
        self._since = 0.0
        self._found: list[T] | None = None
        self._is_last = False
        self.is_over = False

    async def slice(self, until: float) -> list[T] | None:
        """What comes next, or None if nothing came until then (by the monotonic clock) or nothing is left.

        The same again until `taken` was called. Raises `Failed` for whatever goes wrong there; the work is over then.
        """
        if self._found is not None or self.is_over:
            return self._found
        if self._calling is None:
            if time.monotonic() > until:
                return None
            self._since = time.monotonic()
            self._calling = _threads.call(self._next)
        if not await self.answered(until):
            return None
        calling, self._calling = self._calling, None
        try:
            self._found, self._is_last = calling.result()
        except (errors.AntennaError, OSError) as error:
            self.is_over = True
            raise Failed(str(error)) from error
        except Exception as error:
            self.is_over = True
            logger.exception("a watched source")
            raise Failed(f"unexpected {type(error).__name__}: {error}") from error
        return self._found

    def taken(self) -> None:
        """What `slice` returned is recorded."""
        self._found = None
        self.is_over = self._is_last

    async def answered(self, until: float) -> bool:
        """Wait until no thread is at it; False if one still is then."""
        if self._calling is not None and not self._calling.done():
            await _wait(self._calling, until - time.monotonic())
        return self._calling is None or self._calling.done()

    @property
    def busy(self) -> float:
        """Seconds for which a thread is at it; 0 if none is."""
        return 0.0 if self._calling is None or self._calling.done() else time.monotonic() - self._since

    def _next(self) -> tuple[list[T], bool]:
        found: list[T] = []
        until = time.monotonic() + SLICE
        for item in self._items:
            if item is not None:
                found.append(item)
            if len(found) >= MOST or time.monotonic() > until:
                return found, False
        return found, True


async def _wait(calling: Future[T], seconds: float) -> None:
    """Wait until a call has ended, for so long at most. What ends later may find the event loop closed."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    calling.add_done_callback(tell)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0)):
            await ended.wait()


class _Threads:
    """Daemon threads, which nobody joins: as many as there are calls at the same time, used again for later ones.

    No bound, as calls that hang would use it up: callers make one call a source.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def call(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            result: T | None = None
            failure: BaseException | None = None
            try:
                result = function()
            except BaseException as error:
                failure = error
            # Before anybody hears of it: the caller's next call is for this thread.
            with self._lock:
                self._idle += 1
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(cast("T", result))

        with self._lock:
            is_new = not self._idle
            self._idle -= not is_new
        self._calls.put(run)
        if is_new:
            threading.Thread(target=self._work, name="watched source", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            self._calls.get()()


_threads: Final = _Threads()
