"""Leases as a worker holds them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, JobId
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.puller import Delivery, Puller

logger = logging.getLogger(__name__)


class Lease:
    """A task in this worker's hands.

    Acknowledging is a plain publish: a lost one costs a redelivery, whose result the collector does not count twice.
    The subject names the consumer with its epoch, so after a stream was recreated an old acknowledgement finds nobody.
    """

    __slots__ = ("_ack_wait", "_client", "_clock", "_confirmed_at", "ack", "settled", "task")

    def __init__(
        self,
        client: Client,
        ack: names.AckSubject,
        task: messages.Task,
        *,
        arrived: float,
        ack_wait: float,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._ack_wait = ack_wait
        self._clock = clock
        self._confirmed_at = arrived
        self.ack = ack
        self.task = task
        self.settled = False

    @property
    def delivery(self) -> int:
        """Which delivery of the task this is, from 1."""
        return self.ack.delivery

    @property
    def is_ours(self) -> bool:
        """Whether the server still counts the task as ours, by the monotonic clock.

        False when this process stood still, or had no connection, for longer than `ack_wait`: then somebody else may
        hold the task, so it may be settled by a result but neither extended nor handed back.
        """
        return self._clock() - self._confirmed_at < self._ack_wait

    async def extend(self) -> None:
        """Say in-progress. Does nothing once the lease is not ours, or while there is no connection."""
        if self.settled or not self.is_ours or not self._client.is_connected:
            return
        await self._say(b"+WPI")
        self._confirmed_at = self._clock()

    async def settle(self) -> None:
        """Acknowledge: the result is durable in RESULTS. To be called after JetStream confirmed it, never before."""
        self.settled = True
        await self._say(b"+ACK")

    async def hand_back(self, delay: float = 0.0) -> None:
        """Offer the task to everybody again, after `delay` seconds.

        Does nothing once the lease is not ours, nor while there is no connection: sent late it might be.
        """
        if self.settled or not self.is_ours or not self._client.is_connected:
            return
        self.settled = True
        body = b"-NAK" if delay <= 0 else b'-NAK {"delay": %d}' % int(delay * 1e9)
        await self._say(body)

    async def _say(self, body: bytes) -> None:
        with translated("settling a task"):
            await self._client.publish(self.ack.subject, body)


class Leaser:
    """Takes leases from the consumers of announced jobs. Use it as an async context manager."""

    def __init__(self, client: Client, *, ack_wait: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._puller = Puller(client)
        self._ack_wait = ack_wait
        self._clock = clock

    async def __aenter__(self) -> Leaser:
        await self._puller.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for delivery in self._puller.take_late():
            await self._client.publish(delivery.ack.subject, b"-NAK")
        await self._puller.__aexit__(*error)

    async def lease(
        self, job: JobId, generation: Generation, epoch: Epoch, wanted: int, *, wait: float = 0.0
    ) -> list[Lease] | None:
        """Take up to `wanted` tasks of a job. None when its consumer is gone: skip the job until it is announced anew.

        A message that is no task is dropped from the queue with an error in the log; nothing of ours writes one.
        Raises `Unavailable`.
        """
        deliveries = await self._puller.pull(
            names.TASKS, names.task_consumer(job, generation, epoch), wanted, wait=wait
        )
        if deliveries is None:
            return None
        leases = [await self._lease(delivery) for delivery in deliveries]
        return [lease for lease in leases if lease is not None]

    async def _lease(self, delivery: Delivery) -> Lease | None:
        try:
            task = messages.decode(messages.Task, delivery.payload)
        except errors.InvalidInput as error:
            logger.error("dropped a message on %s: %s", delivery.subject, error)
            await self._client.publish(delivery.ack.subject, b"+TERM")
            return None
        return Lease(
            self._client,
            delivery.ack,
            task,
            arrived=delivery.arrived,
            ack_wait=self._ack_wait,
            clock=self._clock,
        )
