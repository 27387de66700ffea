"""Leases of tasks that workers outside this process hold: extend them, hand them back, and look for leasable tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import nats.errors
from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, JobRun
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated

_PROBE: Final = b'{"batch":1,"no_wait":true,"max_bytes":1}'
"""A pull with `max_bytes=1`. No task fits, so the server only reports whether one exists."""

_NO_MESSAGES: Final = "404"
_PROBE_TIMEOUT: Final = 5.0


class RemoteLeases:
    """Extends and hands back tasks by what was noted of their leases. Callers make sure that a lease has not ended."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached now."""
        return bool(self._client.is_connected)

    async def extend(self, acks: Iterable[names.AckSubject]) -> None:
        """Renew the leases. Raises `Unavailable` without a connection: sent later, it could renew somebody else's."""
        await self._say(acks, b"+WPI")

    async def hand_back(self, acks: Iterable[names.AckSubject], delay: float = 0.0) -> None:
        """Offer the tasks to everybody again, after `delay` seconds. Raises `Unavailable` without a connection."""
        await self._say(acks, b"-NAK" if delay <= 0 else b'-NAK {"delay": %d}' % int(delay * 1e9))

    async def is_deliverable(self, job_run: JobRun, epoch: Epoch) -> bool:
        """Whether the job has a task that can be leased now. Nothing is leased, and no delivery is counted.

        To see it, this pulls with `max_bytes=1`; no task fits, so the server only reports whether one exists. False
        also when the consumer is gone. Raises `Unavailable`.
        """
        self._raise_if_away()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{names.TASKS}.{names.task_consumer(job_run, epoch)}"
        with translated(f"looking for tasks of job {job_run.job}"):
            try:
                answer = await self._client.request(subject, _PROBE, timeout=_PROBE_TIMEOUT)
            except nats.errors.NoRespondersError:
                return False
        return (answer.headers or {}).get("Status") != _NO_MESSAGES

    async def _say(self, acks: Iterable[names.AckSubject], body: bytes) -> None:
        self._raise_if_away()
        with translated("answering deliveries"):
            for ack in acks:
                await self._client.publish(ack.subject, body)

    def _raise_if_away(self) -> None:
        if not self._client.is_connected:
            raise errors.Unavailable("NATS: not connected")
