"""Loops that run beside other work: started with a block, cancelled at its end.

Belongs here: repetition by the clock, and how whatever repeats notices that it was cancelled. Repeating one act until a
store answers is in `retrying`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from antenna_orchestration import errors, kernel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """What to do, and how many seconds to rest in between. A store that does not answer only delays the next round."""

    name: str
    every: float
    act: Callable[[], Awaitable[object]]


@asynccontextmanager
async def running(*loops: Loop) -> AsyncIterator[None]:
    """Run the loops for the length of a block; one that fails with a bug ends the block with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_repeat(loop), name=loop.name) for loop in loops]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as several:
        # A TaskGroup wraps even a single error; callers want the one that ended the block.
        raise several.exceptions[0] from None


async def rest(seconds: float, *, unless: asyncio.Event) -> None:
    """Sleep, but wake up as soon as the event is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await unless.wait()


def raise_if_cancelled() -> None:
    """Raise the cancellation that was swallowed."""
    if kernel.is_cancelled():
        raise asyncio.CancelledError


async def _repeat(loop: Loop) -> None:
    while not kernel.is_cancelled():
        try:
            await loop.act()
        except errors.Unavailable as error:
            logger.warning("%s: %s", loop.name, error)
        if not kernel.is_cancelled():
            await asyncio.sleep(loop.every)
