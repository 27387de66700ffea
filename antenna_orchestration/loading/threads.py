"""Daemon threads for calls that may hang, such as reading from a network file system that went away.

The standard library's executors wait for their threads when the interpreter ends; a read that never returns would keep
a worker from ever leaving.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 0.002
"""Seconds that a call waits behind others before another thread joins in.

Files in the page cache are read quickest by one thread, which needs no waking between two calls; a file system that
answers in milliseconds gets more threads within as many.
"""


@dataclass(slots=True)
class _Call:
    future: asyncio.Future[Any]
    function: Callable[[], Any]
    since: float
    result: Any = None
    error: BaseException | None = None


class DaemonThreads:
    """At most `count` threads, as many of them awake as the calls need, that nobody waits for at the end.

    Belongs to the event loop that first calls it.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self._count = count
        self._name = name
        self._waiting: deque[_Call] = deque()
        self._over: deque[_Call] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._started = 0
        self._awake = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check: asyncio.TimerHandle | None = None
        self._told = False

    async def run(self, function: Callable[[], T]) -> T:
        """Call on one of the threads. Cancelling leaves the thread to finish what it can; its answer is dropped."""
        self._loop = self._loop or asyncio.get_running_loop()
        call = _Call(self._loop.create_future(), function, time.monotonic())
        self._waiting.append(call)
        with self._lock:
            none_awake = self._awake == 0
        if none_awake:
            self._wake_one()
        elif self._check is None:
            self._check = self._loop.call_later(PATIENCE, self._wake_more)
        result: T = await call.future
        return result

    def close(self) -> None:
        """Let the threads end that are not stuck."""
        self._closed = True
        if self._check is not None:
            self._check.cancel()
        self._wake.release(self._count)

    def _wake_more(self) -> None:
        self._check = None
        if not self._waiting or self._loop is None:
            return
        if time.monotonic() - self._waiting[0].since >= PATIENCE and self._awake < self._count:
            self._wake_one()
        self._check = self._loop.call_later(PATIENCE, self._wake_more)

    def _wake_one(self) -> None:
        with self._lock:
            self._awake += 1
            fresh = self._awake > self._started
            self._started += fresh
        if fresh:
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        else:
            self._wake.release()

    def _work(self) -> None:
        while not self._closed:
            self._work_off()
            self._wake.acquire()

    def _work_off(self) -> None:
        """Make calls until none waits; this thread is then no longer awake."""
        while True:
            try:
                call = self._waiting.popleft()
            except IndexError:
                with self._lock:
                    if self._waiting:
                        continue
                    self._awake -= 1
                    return
            if call.future.done():
                continue
            try:
                call.result = call.function()
            except BaseException as error:
                call.error = error
            self._over.append(call)
            if not self._told:
                # Once for all that end before the loop comes round.
                self._told = True
                try:
                    assert self._loop is not None
                    self._loop.call_soon_threadsafe(self._tell)
                except RuntimeError:
                    # The loop has ended; nobody waits any more.
                    return

    def _tell(self) -> None:
        self._told = False
        while self._over:
            call = self._over.popleft()
            if call.future.done():
                continue
            if call.error is not None:
                call.future.set_exception(call.error)
            else:
                call.future.set_result(call.result)
