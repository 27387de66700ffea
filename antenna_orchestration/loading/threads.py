"""Daemon threads for calls that may hang, such as reads from a network file system that has gone away.

The executors of the standard library join their threads when the interpreter exits, so a read that never returns would
keep a worker from exiting. Nobody joins these threads.
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
"""Seconds that a call waits in the queue before another thread is woken to help.

One thread reads files in the page cache fastest, because it need not be woken between calls. A file system that takes
milliseconds per read gets more threads within a few milliseconds.
"""


@dataclass(slots=True)
class _Call:
    future: asyncio.Future[Any]
    function: Callable[[], Any]
    since: float
    result: Any = None
    error: BaseException | None = None


class DaemonThreads:
    """A pool of at most `count` daemon threads, of which only as many are awake as the calls need.

    It belongs to the event loop that first calls `run`.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self._count = count
        self._name = name
        self._waiting: deque[_Call] = deque()
        self._finished: deque[_Call] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Semaphore(0)
        self._started = 0
        self._awake = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check: asyncio.TimerHandle | None = None
        self._delivery_scheduled = False

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` on one of the threads and return its result, or raise its exception.

        Cancelling does not stop a call that has begun; its result is dropped.
        """
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
        """End all threads that are not stuck in a call."""
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
            self._run_waiting_calls()
            self._wake.acquire()

    def _run_waiting_calls(self) -> None:
        """Run calls until none is waiting; this thread then no longer counts as awake."""
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
            self._finished.append(call)
            if not self._delivery_scheduled:
                # One wake-up of the event loop serves all calls that end before it runs.
                self._delivery_scheduled = True
                try:
                    assert self._loop is not None
                    self._loop.call_soon_threadsafe(self._deliver_results)
                except RuntimeError:
                    # The event loop is closed, so nobody waits for the result.
                    return

    def _deliver_results(self) -> None:
        self._delivery_scheduled = False
        while self._finished:
            call = self._finished.popleft()
            if call.future.done():
                continue
            if call.error is not None:
                call.future.set_exception(call.error)
            else:
                call.future.set_result(call.result)
