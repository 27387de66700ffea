"""How many bytes of bodies a gateway process keeps at the same time: in all, of one token, and in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from antenna_orchestration import errors

WAIT: Final = 45.0
"""Seconds that a body waits for room while nothing more of it is read; existing clients give up after 60."""

BODIES_OF_ONE: Final = 4
"""Of the largest allowed size, that one token may have here at the same time."""

BODIES_IN_ALL: Final = 8
"""The same of all tokens together."""

IN_MEMORY: Final = 2**20
"""Largest body, in bytes, that is kept in memory; a larger one is written to a file."""

MOST_IN_MEMORY: Final = 64
"""Bodies under way that may become so large in memory; further ones are written to a file from `SMALL` on."""

SMALL: Final = 64 * 1024


class Budget:
    """Rooms for bodies. The oldest body of all, and of each token, never waits, so that those before others end."""

    def __init__(self, *, largest: int) -> None:
        self._of_one = BODIES_OF_ONE * largest
        self._in_all = BODIES_IN_ALL * largest
        self._held: Counter[int] = Counter()
        self._rooms: dict[Room, None] = {}
        self._in_memory = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def room(self, owner: int) -> AsyncIterator[Room]:
        """Room for a body of a token, which grows with it, for the length of the block."""
        room = Room(self, owner, is_small=self._in_memory >= MOST_IN_MEMORY)
        self._rooms[room] = None
        self._in_memory += not room.is_small
        try:
            yield room
        finally:
            del self._rooms[room]
            self._in_memory -= not room.is_small
            self._held[owner] -= room.size
            if self._held[owner] <= 0:
                del self._held[owner]
            async with self._changed:
                self._changed.notify_all()

    def _fits(self, room: Room, more: int) -> bool:
        if room is next(iter(self._rooms)):
            return True
        if sum(self._held.values()) + more > self._in_all:
            return False
        is_first = room is next(one for one in self._rooms if one.owner == room.owner)
        return is_first or self._held[room.owner] + more <= self._of_one

    async def grow(self, room: Room, more: int) -> None:
        """Take so many bytes more. Raises `TooMany` when no room became free for a while."""
        if not self._fits(room, more):
            try:
                async with asyncio.timeout(WAIT), self._changed:
                    await self._changed.wait_for(lambda: self._fits(room, more))
            except TimeoutError:
                raise errors.TooMany("too many large bodies are under way; try again in a while") from None
        room.size += more
        self._held[room.owner] += more


class Room:
    """What a body under way takes of a budget."""

    def __init__(self, budget: Budget, owner: int, *, is_small: bool) -> None:
        self._budget = budget
        self.owner = owner
        self.size = 0
        self.is_small = is_small

    @property
    def in_memory(self) -> int:
        """Bytes up to which the body is kept in memory."""
        return SMALL if self.is_small else IN_MEMORY

    async def grow_to(self, size: int) -> None:
        """Have room for so many bytes. Raises `TooMany`."""
        if size > self.size:
            await self._budget.grow(self, size - self.size)
