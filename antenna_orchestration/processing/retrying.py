"""Doing something again: side loops for the length of a block, and attempts until a store is back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from antenna_orchestration import errors

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAUSE: Final = 1.0
"""Seconds between attempts while a store is away."""

SHORT_PAUSE: Final = 0.25
"""The same where somebody waits for the answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """What to do, and how long to rest in between. A store that is away only makes it late."""

    name: str
    every: float
    act: Callable[[], Awaitable[object]]


@asynccontextmanager
async def running(*loops: Loop) -> AsyncIterator[None]:
    """Run the loops for the length of a block; one that dies of a bug ends the block with its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_repeat(loop), name=loop.name) for loop in loops]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as several:
        # What ended the block is the story; a TaskGroup wraps even a single error.
        raise several.exceptions[0] from None


async def retry_forever(what: str, act: Callable[[], Awaitable[T]]) -> T:
    """Do something until the stores allow it, however long they are away."""
    while True:
        try:
            return await act()
        except errors.Unavailable as error:
            logger.warning("%s waits: %s", what, error)
            await asyncio.sleep(PAUSE)


async def retry_until(deadline: float, act: Callable[[], Awaitable[T]]) -> T:
    """Do something until the stores allow it, or the time (monotonic seconds) is over: raises `Unavailable` then."""
    while True:
        try:
            return await act()
        except errors.Unavailable:
            if time.monotonic() + SHORT_PAUSE >= deadline:
                raise
        await asyncio.sleep(SHORT_PAUSE)


async def rest(seconds: float, *, unless: asyncio.Event) -> None:
    """Sleep, unless the event is set, or until it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await unless.wait()


def is_cancelled() -> bool:
    """Whether the calling task was told to end; to be asked once a round by whatever goes round until then.

    Up to Python 3.11 `asyncio.wait_for`, which all clients use, swallows a cancellation that comes together with what
    it waits for.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def raise_if_cancelled() -> None:
    """Raise the cancellation that was swallowed."""
    if is_cancelled():
        raise asyncio.CancelledError


async def _repeat(loop: Loop) -> None:
    while not is_cancelled():
        try:
            await loop.act()
        except errors.Unavailable as error:
            logger.warning("%s: %s", loop.name, error)
        if not is_cancelled():
            await asyncio.sleep(loop.every)
