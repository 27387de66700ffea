"""Heartbeats: the KV bucket `workers`. A worker's entry expires 30 s after its last heartbeat."""

from __future__ import annotations

import contextlib
import re

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.watching import watching

HEARTBEAT_EVERY = 5.0
"""Seconds between heartbeats, a sixth of the time after which an entry expires."""


class Heartbeats:
    """Sends heartbeats, and lists the workers that are alive."""

    def __init__(self, client: Client) -> None:
        self._js = client.jetstream()
        self._client = client

    async def beat(self, heartbeat: messages.Heartbeat) -> None:
        """Show the worker for another 30 s. Not confirmed by the server: the next heartbeat follows in seconds."""
        with translated("heartbeat"):
            await self._client.publish(_subject(heartbeat.worker), messages.encode(heartbeat))

    async def leave(self, worker: str) -> None:
        """Delete the worker's entry. Not confirmed by the server."""
        with translated("signing off"):
            await self._client.publish(_subject(worker), b"", headers={"KV-Operation": "DEL"})

    async def workers(self) -> list[messages.Heartbeat]:
        """All workers alive, by name. Raises `Unavailable`."""
        found: list[messages.Heartbeat] = []
        with translated("listing the workers"):
            try:
                bucket = await self._js.key_value(names.WORKERS_BUCKET)
            except nats.js.errors.NotFoundError:
                return []
            async with watching(bucket) as watch:
                while (entry := await watch.next(timeout=5)) is not None:
                    # A worker that signed off has an empty entry.
                    with contextlib.suppress(errors.InvalidInput):
                        found.append(messages.decode(messages.Heartbeat, entry.value or b""))
        return sorted(found, key=lambda heartbeat: heartbeat.worker)


def _subject(worker: str) -> str:
    return f"$KV.{names.WORKERS_BUCKET}." + re.sub(r"[^A-Za-z0-9_-]", "-", worker)
