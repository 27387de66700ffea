"""Retrying one act while a store does not answer: without end, or until a deadline.

The pauses do not grow: a client that reconnects limits its own attempts, and an image or a person waits for the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from antenna_orchestration import errors

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAUSE: Final = 1.0
"""Seconds between attempts while a store does not answer."""

SHORT_PAUSE: Final = 0.25
"""The same where a caller waits for the answer."""


TOLD_AFTER: Final = 30.0
"""Seconds after which people are told what an act waits for."""


async def retry_forever(
    what: str, act: Callable[[], Awaitable[T]], *, tell: Callable[[str], Awaitable[None]] | None = None
) -> T:
    """Try until the stores answer, however long that takes; `what` names the act in the log.

    `tell` is told once, after half a minute, what it waits for, and then, by an empty text, that it no longer does; it
    may be among what does not answer.
    """
    began, is_told = time.monotonic(), False
    while True:
        try:
            done = await act()
        except errors.Unavailable as error:
            logger.warning("%s waits: %s", what, error)
            if tell and not is_told and time.monotonic() - began >= TOLD_AFTER:
                with contextlib.suppress(errors.Unavailable):
                    await tell(f"{what}: {error}")
                    is_told = True
            await asyncio.sleep(PAUSE)
        else:
            if tell and is_told:
                with contextlib.suppress(errors.Unavailable):
                    await tell("")
            return done


async def retry_until(deadline: float, act: Callable[[], Awaitable[T]]) -> T:
    """Try until the stores answer; raises the last `Unavailable` after the deadline, which is in monotonic seconds."""
    while True:
        try:
            return await act()
        except errors.Unavailable:
            if time.monotonic() + SHORT_PAUSE >= deadline:
                raise
        await asyncio.sleep(SHORT_PAUSE)
