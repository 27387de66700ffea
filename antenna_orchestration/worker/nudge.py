"""The one back-edge that many parts of a worker share: "there may be room for more, or work that was not there"."""

from __future__ import annotations

import asyncio


class Nudge:
    """Wakes the stages that wait for room or for work: the scheduler and the batcher.

    Made before any stage, so that whoever makes room (a task that leaves, a pipeline that is loaded, a source that
    recovers) needs to know none of them.
    """

    def __init__(self) -> None:
        self._subscribers: list[asyncio.Event] = []

    def subscribe(self) -> asyncio.Event:
        """An event of the caller's own, set at each nudge. The caller clears it before it looks for room, not after."""
        event = asyncio.Event()
        self._subscribers.append(event)
        return event

    def give(self) -> None:
        """Wake all subscribers; one that is at work looks once more when it is done."""
        for event in self._subscribers:
            event.set()
