"""Whether the streams store messages, found out by storing one in each and removing it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.publisher import Message, Publisher

logger = logging.getLogger(__name__)

_STREAMS: Final = {names.TASKS: "tasks", names.RESULTS: "results"}
"""The streams that grow with the work, and so meet a full disk first, with the beginning of their subjects."""

PATIENCE: Final = 5.0
"""Seconds to wait for the confirmation."""


async def refusing(client: Client) -> list[str]:
    """The streams that store nothing although NATS answers, as after a full disk. Needs the orchestrator's rights.

    A stream at its own byte limit is not one of them. Raises `Unavailable` when NATS does not answer.
    """
    async with Publisher(client) as publisher:
        found = await asyncio.gather(*(_refuses(client, publisher, stream) for stream in _STREAMS))
    return [stream for stream, refuses in zip(_STREAMS, found, strict=True) if refuses]


async def _refuses(client: Client, publisher: Publisher, stream: str) -> bool:
    js = client.jetstream()
    # Not the subject of any job, so nobody reads it.
    subject = f"{_STREAMS[stream]}.probe.{secrets.token_hex(8)}"
    with translated(f"looking at {stream}"):
        try:
            await js.stream_info(stream)
        except nats.js.errors.NotFoundError:
            # Publishers make it again.
            return False
    try:
        await publisher.publish([Message(subject, b"")], timeout=PATIENCE)
    except errors.QueueFull:
        return False
    except errors.Unavailable as error:
        logger.warning("%s stores nothing: %s", stream, error)
        return True
    with translated(f"looking at {stream}"), contextlib.suppress(nats.js.errors.NotFoundError):
        await js.purge_stream(stream, subject=subject)
    return False
