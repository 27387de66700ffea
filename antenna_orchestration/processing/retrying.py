"""Retrying one act while a store does not answer: without end, or until a deadline.

The pauses do not grow: a client that reconnects limits its own attempts, and an image or a person waits for the result.
"""

from __future__ import annotations

import asyncio
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


async def retry_forever(what: str, act: Callable[[], Awaitable[T]]) -> T:
    """Try until the stores answer, however long that takes; `what` names the act in the log."""
    while True:
        try:
            return await act()
        except errors.Unavailable as error:
            logger.warning("%s waits: %s", what, error)
            await asyncio.sleep(PAUSE)


async def retry_until(deadline: float, act: Callable[[], Awaitable[T]]) -> T:
    """Try until the stores answer; raises the last `Unavailable` after the deadline, which is in monotonic seconds."""
    while True:
        try:
            return await act()
        except errors.Unavailable:
            if time.monotonic() + SHORT_PAUSE >= deadline:
                raise
        await asyncio.sleep(SHORT_PAUSE)
