"""Connections to the stores that a process keeps: between the ticks of its sensors, and between the assets of a run.

To connect costs more than most ticks do: 30 ms of CPU here and in the servers, fifty times a minute. One thread has an
event loop with the connections, which all who use them share. They are kept while they are whole: queue and Redis
are asked before each use, PostgreSQL's pool asks before each statement, and whatever fails in a tick, the next one
connects anew. So a server that was restarted costs the tick that it interrupts, and no other.
"""

import asyncio
import atexit
import contextlib
import functools
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.processing import services
from antenna_orchestration.processing.services import Records, Services
from antenna_orchestration.settings import Settings

logger = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")

OF_SENSORS: Final = 8
"""To PostgreSQL: as many as ticks may come at a time (`sensors` in dagster.yaml)."""

CLOSED_WITHIN: Final = 3.0
"""Seconds that closing waits for those who use the connections, and for the servers."""


class KeptConnections:
    """The connections, made at the first use. Any thread may call the methods.

    `most` is how many there may be to PostgreSQL.
    """

    def __init__(self, *, most: int, name: str) -> None:
        self._most = most
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._current: _Connections | None = None
        # Those that somebody still uses, and those that are being closed, too.
        self._open: set[_Connections] = set()
        # A daemon, because nothing would tell it to end before the interpreter waits for the others.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def with_services(self, settings: Settings, act: Callable[[Services], Awaitable[T]]) -> T:
        """Let `act` use the services on the thread of the connections, and wait. Raises `Unavailable`."""

        async def within() -> T:
            async with self.services(settings) as connected:
                return await act(connected)

        return self.run(within)

    def with_records(self, settings: Settings, act: Callable[[Records], Awaitable[T]]) -> T:
        """The same without the queue, which need not answer."""

        async def within() -> T:
            current = self._connections(settings)
            async with self._given_up_if_it_fails(current), current.records.used() as records:
                return await act(records)

        return self.run(within)

    def run(self, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the thread of the connections, and wait. It may use `services`."""
        return asyncio.run_coroutine_threadsafe(act(), self._loop).result()

    @asynccontextmanager
    async def services(self, settings: Settings) -> AsyncIterator[Services]:
        """The services for the length of a block, on the event loop of the connections. Raises `Unavailable`."""
        while True:
            current = self._connections(settings)
            was_open = current.has_queue and current.queue.is_open
            # The records, too: the queue's may only now be about to use them.
            async with self._given_up_if_it_fails(current), current.records.used(), current.queue.used() as connected:
                if not was_open or await _still_answer(connected):
                    yield connected
                    return
                self._give_up(current)

    def close(self) -> None:
        """Close what is open, once nobody uses it; the next use connects anew."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(CLOSED_WITHIN)

    def end(self, within: float | None = 2 * CLOSED_WITHIN) -> None:
        """Close what is open, and use the connections no more.

        Waits so many seconds at most, None: until what was begun on threads has ended, too.
        """
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(within)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_the_end())

    async def _until_the_end(self) -> None:
        await self._ended.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSED_WITHIN):
                await self._close()

    def _connections(self, settings: Settings) -> "_Connections":
        if self._current is not None and self._current.settings != settings:
            self._give_up(self._current)
        if self._current is None:
            self._current = _Connections(settings, self._most)
            self._open = {one for one in self._open if not one.is_closed} | {self._current}
        return self._current

    @asynccontextmanager
    async def _given_up_if_it_fails(self, current: "_Connections") -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            self._give_up(current)
            raise

    def _give_up(self, connections: "_Connections") -> None:
        """Let the next use connect anew; those who use them now do so to their end."""
        connections.give_up()
        if self._current is connections:
            self._current = None

    async def _close(self) -> None:
        if (current := self._current) is not None:
            self._give_up(current)
        for one in self._open:
            await one.closed()


async def _still_answer(connected: Services) -> bool:
    try:
        await connected.still_answer()
    except errors.Unavailable:
        return False
    return True


class _Connections:
    """One set of connections: to the catalog, and to the queue once somebody wants it."""

    def __init__(self, settings: Settings, most: int) -> None:
        self.settings = settings
        self.records = _Kept(services.opened_records(settings, max_connections=most))

    @property
    def has_queue(self) -> bool:
        return "queue" in vars(self)

    @functools.cached_property
    def queue(self) -> "_Kept[Services]":
        """It uses the records, which therefore stay open until it is closed."""
        return _Kept(self._joined())

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[Services]:
        async with self.records.used() as records, services.joined_by_queue(records) as connected:
            yield connected

    def give_up(self) -> None:
        if self.has_queue:
            self.queue.give_up()
        self.records.give_up()

    @property
    def is_closed(self) -> bool:
        return self.records.task.done() and not (self.has_queue and not self.queue.task.done())

    async def closed(self) -> None:
        """Return when all is closed."""
        if self.has_queue:
            await asyncio.wait([self.queue.task])
        await asyncio.wait([self.records.task])


class _Kept(Generic[S]):
    """Something that a task opens, holds, and closes once it is given up and nobody uses it any more."""

    def __init__(self, opened: AbstractAsyncContextManager[S]) -> None:
        self._users = 0
        self._is_given_up = False
        self._left = asyncio.Event()
        self._value: asyncio.Future[S] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._hold(opened), name="hold connections")

    @property
    def is_open(self) -> bool:
        """Whether it was opened, and no longer only will be."""
        return self._value.done() and self._value.exception() is None

    @asynccontextmanager
    async def used(self) -> AsyncIterator[S]:
        """It, open for the length of the block. Raises what opening it raised."""
        self._users += 1
        try:
            # All who wait share one attempt, which none of them may cancel.
            yield await asyncio.shield(self._value)
        finally:
            self._users -= 1
            self._end_if_left()

    def give_up(self) -> None:
        """Close it when its last user leaves."""
        self._is_given_up = True
        self._end_if_left()

    def _end_if_left(self) -> None:
        if self._is_given_up and not self._users:
            self._left.set()

    async def _hold(self, opened: AbstractAsyncContextManager[S]) -> None:
        try:
            async with opened as value:
                self._value.set_result(value)
                await self._left.wait()
        except Exception as error:
            if self._value.done():
                logger.warning("closing a connection failed: %r", error)
            else:
                self._value.set_exception(error)


@functools.cache
def _of(pid: int) -> KeptConnections:
    """Those of a process; one that was forked may not use its parent's."""
    kept = KeptConnections(most=OF_SENSORS, name="connections of sensors")

    def end() -> None:
        if os.getpid() == pid:
            kept.end()

    atexit.register(end)
    return kept


def of_this_process() -> KeptConnections:
    """Made at the first call."""
    return _of(os.getpid())
