"""Files that are made for downloads: each once, however many ask for it, and a few at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

from antenna_orchestration import errors

T = TypeVar("T")

MOST: Final = 4
"""Files that a process makes at the same time: for MegaDetector's JSON it holds the numbers of all detections."""

MOST_OF_ONE: Final = 2
"""Of these, those that one token asked for."""

MOST_WAITING: Final = 20
"""Files of one token that are being made or wait for their turn."""


class Making:
    """The files that this process makes now."""

    def __init__(self) -> None:
        # Set when the gateway stops: what is being written then is given up.
        self.stop = threading.Event()
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._asked: Counter[int] = Counter()
        self._room = asyncio.Semaphore(MOST)
        self._room_of: defaultdict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MOST_OF_ONE))

    async def once(self, what: str, token: int, make: Callable[[], Awaitable[T]]) -> T:
        """Let `make` make what nobody makes yet; else wait for that. It goes on when those who asked are gone.

        Raises what `make` does, and `TooMany`.
        """
        task = self._tasks.get(what)
        if task is None:
            if self._asked[token] >= MOST_WAITING:
                raise errors.TooMany(f"{MOST_WAITING} files of this token are being made; ask again in a while")
            task = asyncio.create_task(self._in_turn(token, make), name=f"making {what}")
            self._tasks[what] = task
            self._asked[token] += 1
            task.add_done_callback(lambda done: self._over(what, token, done))
        return cast(T, await asyncio.shield(task))

    def close(self) -> None:
        """Give up what is being made."""
        self.stop.set()
        for task in self._tasks.values():
            task.cancel()

    async def _in_turn(self, token: int, make: Callable[[], Awaitable[T]]) -> T:
        async with self._room_of[token], self._room:
            return await make()

    def _over(self, what: str, token: int, task: asyncio.Task[Any]) -> None:
        del self._tasks[what]
        self._asked[token] -= 1
        if not self._asked[token]:
            del self._asked[token]
            self._room_of.pop(token, None)
        if not task.cancelled():
            # Those who asked may be gone, and then nobody else looks at it.
            task.exception()
