"""Heartbeats: the KV bucket `workers`. A worker's entry expires 30 s after its last heartbeat."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timedelta
from typing import Final, cast

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.watching import watching

HEARTBEAT_EVERY = 5.0
"""Seconds between heartbeats, a sixth of the time after which an entry expires."""

_AHEAD: Final = timedelta(seconds=30)
"""By how much the clock of the server's machine may be ahead of this one's."""


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
        return [heartbeat for heartbeat, _ in await self._entries()]

    async def leave_ahead(self, now: datetime) -> int:
        """Delete entries that the server stored before its clock was set back; how many. Raises `Unavailable`.

        They would expire when the clock has come that far again. A worker that is alive shows itself within seconds.
        """
        ahead = [heartbeat.worker for heartbeat, stored in await self._entries() if stored - now > _AHEAD]
        for worker in ahead:
            await self.leave(worker)
        return len(ahead)

    async def _entries(self) -> list[tuple[messages.Heartbeat, datetime]]:
        """All heartbeats, by the worker's name, and when the server stored each."""
        found: list[tuple[messages.Heartbeat, datetime]] = []
        with translated("listing the workers"):
            try:
                bucket = await self._js.key_value(names.WORKERS_BUCKET)
            except nats.js.errors.NotFoundError:
                return []
            async with watching(bucket) as watch:
                while (entry := await watch.next(timeout=5)) is not None:
                    # A worker that signed off has an empty entry.
                    with contextlib.suppress(errors.InvalidInput):
                        heartbeat = messages.decode(messages.Heartbeat, entry.value or b"")
                        found.append((heartbeat, cast(datetime, entry.created)))
        return sorted(found, key=lambda entry: entry[0].worker)


def _subject(worker: str) -> str:
    return f"$KV.{names.WORKERS_BUCKET}." + re.sub(r"[^A-Za-z0-9_-]", "-", worker)
