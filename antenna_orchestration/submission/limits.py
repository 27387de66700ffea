"""What a submission may take: what a client names costs its own submission an error, and nobody else time or memory."""

from __future__ import annotations

import time
from typing import Final

from antenna_orchestration import errors

MOST_ROWS: Final = 2_000_000
"""Rows of a list: they are held in memory, half a kilobyte each."""

MOST_LIST_BYTES: Final = 512 * 2**20
"""Bytes of a list as it is read, unpacked: two million rows of 250 characters."""

MOST_COLUMNS: Final = 5_000
"""Columns of a list."""

MOST_CONTAINERS: Final = 20_000_000
"""Objects and lists in a list that is JSON; each takes about a hundred bytes of memory, however short it is written."""


MOST_WATCHED_BYTES: Final = 64 * 2**20
"""Bytes of a watched list: some of them are held in memory at the same time."""

MOST_WATCHED_LINES: Final = 500_000
"""Lines of a watched list: all are looked at whenever it changed."""


class Deadline:
    """A moment after which a submission is given up. It is asked often, since a thread cannot be ended from outside."""

    def __init__(self, within: float | None = None) -> None:
        """`within` is in seconds; None for no deadline."""
        self._within = within
        self._is_given_up = False
        self._end = None if within is None else time.monotonic() + within

    def give_up(self) -> None:
        """Let it be over now: nobody waits for the images any more."""
        self._is_given_up = True

    def check(self) -> None:
        """Raise `InvalidSource` when it is over."""
        if self._is_given_up:
            raise errors.InvalidSource("looking for the images was given up")
        if self._end is not None and time.monotonic() > self._end:
            raise errors.InvalidSource(
                f"looking for the images took longer than {self._within:.0f} s: name fewer of them at a time, or "
                "submit with `antenna submit` on the orchestrator's host"
            )
