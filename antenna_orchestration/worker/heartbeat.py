"""Says every few seconds that this worker is here, and how it is doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.queue.heartbeats import HEARTBEAT_EVERY, Heartbeats
from antenna_orchestration.worker.pulse import Pulse

logger = logging.getLogger(__name__)

LEAVE_TIMEOUT: Final = 2.0


async def beat(heartbeats: Heartbeats, describe: Callable[[], messages.Heartbeat], pulse: Pulse) -> None:
    """Show the worker every five seconds, for ever."""
    while True:
        pulse.turn("heartbeat")
        try:
            await heartbeats.beat(describe())
        except errors.Unavailable as error:
            logger.debug("%s", error)
        await asyncio.sleep(HEARTBEAT_EVERY)


async def last(heartbeats: Heartbeats, heartbeat: messages.Heartbeat) -> None:
    """Leave an entry that says why the worker is gone; it ends by itself."""
    try:
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await heartbeats.beat(heartbeat)
    except (errors.Unavailable, TimeoutError) as error:
        logger.debug("%s", error)


async def leave(heartbeats: Heartbeats, worker: str) -> None:
    """Take the worker's entry away; if that does not work it ends by itself."""
    try:
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await heartbeats.leave(worker)
    except (errors.Unavailable, TimeoutError) as error:
        logger.debug("not signed off: %s", error)
