"""Tasks that somebody else's process leased: extend and hand back by what a lease remembers, and look what is there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import nats.errors
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, Generation, JobId
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated

_PROBE: Final = b'{"batch":1,"no_wait":true,"max_bytes":1}'
"""A pull that no task fits in: the server says that there is one, or that there is none, and hands out nothing."""

_NO_MESSAGES: Final = "404"
_PROBE_TIMEOUT: Final = 5.0


class RemoteLeases:
    """Speaks for leases that live outside this process. Whether they are still ours is the caller's to know."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def is_connected(self) -> bool:
        """Whether what is said now is heard."""
        return bool(self._client.is_connected)

    async def extend(self, acks: Iterable[names.AckSubject]) -> None:
        """Say in-progress for each. Raises `Unavailable` without a connection: said later it would extend others."""
        await self._say(acks, b"+WPI")

    async def hand_back(self, acks: Iterable[names.AckSubject], delay: float = 0.0) -> None:
        """Offer the tasks to everybody again, after `delay` seconds. Raises `Unavailable` without a connection."""
        await self._say(acks, b"-NAK" if delay <= 0 else b'-NAK {"delay": %d}' % int(delay * 1e9))

    async def is_deliverable(self, job: JobId, generation: Generation, epoch: Epoch) -> bool:
        """Whether a pull would get a task of the job now; nothing is handed out and no delivery is counted.

        False also when the consumer is gone. Raises `Unavailable`.
        """
        self._raise_if_away()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{names.TASKS}.{names.task_consumer(job, generation, epoch)}"
        with translated(f"looking for tasks of job {job}"):
            try:
                answer = await self._client.request(subject, _PROBE, timeout=_PROBE_TIMEOUT)
            except nats.errors.NoRespondersError:
                return False
        return (answer.headers or {}).get("Status") != _NO_MESSAGES

    async def _say(self, acks: Iterable[names.AckSubject], body: bytes) -> None:
        self._raise_if_away()
        with translated("settling tasks"):
            for ack in acks:
                await self._client.publish(ack.subject, body)

    def _raise_if_away(self) -> None:
        if not self._client.is_connected:
            raise errors.Unavailable("NATS: not connected")
