"""Leases of tasks, as the process that leased them holds them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from nats.aio.client import Client

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, JobRun
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import check_jetstream, translated
from antenna_orchestration.queue.puller import Delivery, Puller

logger = logging.getLogger(__name__)


class Lease:
    """A task that this process holds.

    Acknowledging is a plain publish. When it is lost, the task is redelivered, and the collector does not count the
    second result. The subject names the consumer with its epoch, so an acknowledgement from before a stream was
    recreated has no effect.
    """

    __slots__ = ("_ack_wait", "_client", "_clock", "_confirmed_at", "ack", "ended", "epoch", "round_trip", "task")

    def __init__(
        self,
        client: Client,
        ack: names.AckSubject,
        task: messages.Task,
        *,
        epoch: Epoch,
        arrived: float,
        round_trip: float,
        ack_wait: float,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._ack_wait = ack_wait
        self._clock = clock
        self._confirmed_at = arrived
        self.ack = ack
        self.task = task
        self.epoch = epoch
        # Seconds from the question to the answer that brought it.
        self.round_trip = round_trip
        # Acknowledged or handed back.
        self.ended = False

    @property
    def delivery(self) -> int:
        """Which delivery of the task this is, from 1."""
        return self.ack.delivery

    @property
    def is_ours(self) -> bool:
        """Whether the server still counts the task as ours, by the monotonic clock.

        False when this process was suspended, or had no connection, for longer than `ack_wait`. Then somebody else may
        hold the task: its result may be published and acknowledged, but it must be neither extended nor handed back.
        """
        return self._clock() - self._confirmed_at < self._ack_wait

    async def extend(self) -> None:
        """Renew the lease. Does nothing when the lease is not ours any more, or without a connection."""
        if self.ended or not self.is_ours or not self._client.is_connected:
            return
        await self._say(b"+WPI")
        self._confirmed_at = self._clock()

    async def acknowledge(self) -> None:
        """Remove the task from the queue. Call it only after JetStream has confirmed the result."""
        self.ended = True
        await self._say(b"+ACK")

    async def hand_back(self, delay: float = 0.0) -> None:
        """Offer the task to everybody again, after `delay` seconds.

        Does nothing when the lease is not ours any more, or without a connection, since a message that is sent after a
        reconnection could come too late.
        """
        if self.ended or not self.is_ours or not self._client.is_connected:
            return
        self.ended = True
        body = b"-NAK" if delay <= 0 else b'-NAK {"delay": %d}' % int(delay * 1e9)
        await self._say(body)

    async def _say(self, body: bytes) -> None:
        with translated("answering a delivery"):
            await self._client.publish(self.ack.subject, body)


class Leaser:
    """Leases tasks of announced jobs. Use it as an async context manager; leaving it hands back late deliveries."""

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
        self, job_run: JobRun, epoch: Epoch, wanted: int, *, wait: float = 0.0, ack_wait: float = 0.0
    ) -> list[Lease] | None:
        """Lease up to `wanted` tasks of a job, waiting up to `wait` seconds for the first.

        They last for `ack_wait` seconds, as the job's announcement says; 0 is what this process was made with.

        None when its consumer is gone: skip the job until it is announced anew. Raises `Unavailable` when JetStream
        does not answer. A message that is not a task is removed from the queue with an error in the log; none of our
        programs writes one.
        """
        asked = self._clock()
        consumer = names.task_consumer(job_run, epoch)
        deliveries: list[Delivery] | None = None
        with contextlib.suppress(errors.Unavailable):
            deliveries = await self._puller.pull(names.TASKS, consumer, wanted, wait=wait)
        if deliveries is None:
            # Behind a leaf node it looks alike: of a consumer that is gone nobody says so, and while the line is cut
            # everything is gone.
            await check_jetstream(self._client)
            return None
        leases = [await self._lease(delivery, epoch, asked, ack_wait or self._ack_wait) for delivery in deliveries]
        return [lease for lease in leases if lease is not None]

    async def _lease(self, delivery: Delivery, epoch: Epoch, asked: float, ack_wait: float) -> Lease | None:
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
            epoch=epoch,
            arrived=delivery.arrived,
            # One that came after its question was given up arrived before this one.
            round_trip=max(0.0, delivery.arrived - asked),
            ack_wait=ack_wait,
            clock=self._clock,
        )
