"""The connections of a gateway process: whose they are, how many there may be, and which one makes room for another.

A connection belongs to the address that it comes from until a request on it shows a valid token or image link; then to
that token, or to the links of that address. So the workers of a laboratory behind one address are told apart from
strangers there, and from those with other tokens.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from typing import Final, Protocol

logger = logging.getLogger(__name__)

MOST: Final = 4_096
"""Connections in all; fewer where the system allows a process fewer files."""

MOST_OF_ONE: Final = 1_024
"""Connections of one owner: a token, or an address without one. Fifty workers with four processes each have 400."""

FILES: Final = 512
"""Files and sockets that a process needs besides: the stores', temporary files, images and tables under way."""

STAYS_IDLE: Final = 2.0
"""Seconds for which an idle connection stays, whoever needs room: a new client is just about to ask."""

SAY_EVERY: Final = 10.0
"""Seconds between two lines in the log that say how many connections were refused."""


class Connection(Protocol):
    """What this table needs of a connection."""

    owner: str

    def close_idle(self) -> None:
        """Close it: it has no request under way."""


class Connections:
    """All open connections, by their owners, and the idle ones in the order in which they became so."""

    def __init__(self, *, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._open: set[Connection] = set()
        self._owned: Counter[str] = Counter()
        self._idle: dict[str, OrderedDict[Connection, float]] = {}
        self._refused = 0
        self._said = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, *, now: float, is_shared: bool = False) -> bool:
        """Take in a new connection, which is idle. False if there is no room, and nothing idle that can make it.

        The longest idle connection of the owner makes room when the owner has too many, and that of whoever has most
        when there are too many in all. An address that `is_shared`, such as a proxy's, has no bound of its own.
        """
        owner = connection.owner
        if not is_shared and self._owned[owner] >= self._most_of_one and not self._make_room(owner, now):
            return self._refuse(owner, now)
        if len(self._open) >= self._most:
            richest = max(self._idle, key=lambda one: len(self._idle[one]), default="")
            if not self._make_room(richest, now):
                return self._refuse(owner, now)
        self._open.add(connection)
        self._owned[owner] += 1
        self._idle.setdefault(owner, OrderedDict())[connection] = now
        return True

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed or about to be; once more does nothing."""
        if connection in self._open:
            self._open.discard(connection)
            self._disown(connection)

    def begin(self, connection: Connection) -> None:
        """A request is under way on it."""
        self._take_from_idle(connection)

    def rest(self, connection: Connection, *, now: float) -> None:
        """No request is under way on it."""
        if connection in self._open:
            self._idle.setdefault(connection.owner, OrderedDict())[connection] = now

    def belongs_to(self, connection: Connection, owner: str) -> bool:
        """Note whose a connection with a request under way turned out to be; False if that one has too many."""
        if connection.owner == owner or connection not in self._open:
            return True
        if self._owned[owner] >= self._most_of_one and not self._make_room(owner, time.monotonic()):
            return False
        self._disown(connection)
        connection.owner = owner
        self._owned[owner] += 1
        return True

    def _disown(self, connection: Connection) -> None:
        owner = connection.owner
        self._take_from_idle(connection)
        self._owned[owner] -= 1
        if self._owned[owner] <= 0:
            del self._owned[owner]

    def _take_from_idle(self, connection: Connection) -> None:
        if (idle := self._idle.get(connection.owner)) is not None:
            idle.pop(connection, None)
            if not idle:
                del self._idle[connection.owner]

    def _make_room(self, owner: str, now: float) -> bool:
        idle = self._idle.get(owner)
        if not idle:
            return False
        longest, since = next(iter(idle.items()))
        if now - since < STAYS_IDLE:
            return False
        self.leave(longest)
        longest.close_idle()
        return True

    def _refuse(self, owner: str, now: float) -> bool:
        self._refused += 1
        if now - self._said >= SAY_EVERY:
            logger.warning("refused %d connections, the last from %s: %d are open", self._refused, owner, len(self))
            self._refused, self._said = 0, now
        return False
