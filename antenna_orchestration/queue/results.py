"""Results: how a worker publishes them durably, and how the collector that owns a job reads them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.leasing import Lease
from antenna_orchestration.queue.payloads import Payloads
from antenna_orchestration.queue.publisher import Confirmed, Message, Publisher
from antenna_orchestration.queue.puller import Delivery, Puller
from antenna_orchestration.queue.tasks import consumers

logger = logging.getLogger(__name__)

INLINE_BYTES: Final = 4 * 2**20
"""Above this a result's payload travels through the object store."""

RESULT_ACK_WAIT: Final = 120.0
"""Seconds after which a result that the collector did not acknowledge is redelivered; it is counted once."""


class ResultSender:
    """Publishes results with JetStream's confirmation. Use it as an async context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._publisher = Publisher(client)
        self._payloads = Payloads(client, self._publisher)

    async def __aenter__(self) -> ResultSender:
        await self._publisher.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._publisher.__aexit__(*error)

    async def send(self, results: Sequence[tuple[messages.Result, Lease]]) -> None:
        """Make results durable. Only afterwards may their leases be acknowledged.

        Idempotent: by the message id the server drops what this process sends a second time. The id names the
        consumer's epoch beside the task's sequence, because sequences begin again when a stream is recreated. Raises
        `Unavailable` or `QueueFull`.
        """
        await self._publish([(result, lease.ack) for result, lease in results])

    async def deliver(self, results: Sequence[tuple[messages.Result, names.AckSubject]]) -> int:
        """Make results durable and acknowledge their tasks; how many results the server had already.

        For leases that this process does not hold itself. They may have ended, which does no harm: a result is as good
        as that of whoever processed the image meanwhile, and acknowledging a task that is gone has no effect. Raises
        like `send`.
        """
        confirmed = await self._publish(results)
        with translated("acknowledging delivered results"):
            for _, ack in results:
                await self._client.publish(ack.subject, b"+ACK")
        return confirmed.repeated

    async def _publish(self, results: Sequence[tuple[messages.Result, names.AckSubject]]) -> Confirmed:
        if not self._client.is_connected:
            # nats-py would buffer the messages for later, and each retry would add to them.
            raise errors.Unavailable("publishing results: not connected")
        return await self._publisher.publish([await self._message(result, ack) for result, ack in results])

    async def _message(self, result: messages.Result, ack: names.AckSubject) -> Message:
        payload = messages.encode(result)
        subject = names.result_subject(result.job_run, result.image)
        headers = {"Nats-Msg-Id": f"{ack.consumer}-{ack.sequence}-{ack.delivery}-{result.outcome}"}
        if len(payload) <= INLINE_BYTES:
            return Message(subject, payload, headers)
        sha256 = hashlib.sha256(payload).hexdigest()
        await self._payloads.put(names.payload_name(result.job_run, result.image, sha256), payload)
        return Message(subject, b"", {**headers, names.OBJECT_HEADER: sha256})


BATCH_BYTES: Final = 16 * 2**20
"""Bytes of results in a batch: two thousand with whole score vectors would be gigabytes, and slow to decode."""

NO_IMAGE: Final = ImageId(0)
"""The image of a result whose subject names none; no capture has this id."""


@dataclass(frozen=True, slots=True)
class Received:
    """A result as the collector holds it, to be acknowledged after its rows and status are committed."""

    image: ImageId
    payload: bytes
    delivery: Delivery
    # Name in the object store when the payload came from there.
    stored_as: str | None = None


class ResultFeed:
    """Reads the results of one job run; there is one reader at a time. Use it as an async context manager.

    Entering replaces the consumer of an earlier reader: what that one had not acknowledged is redelivered at once.
    """

    def __init__(self, client: Client, job_run: JobRun) -> None:
        self._client = client
        self._js = client.jetstream()
        self._job_run = job_run
        self._puller = Puller(client)
        self._payloads = Payloads(client, Publisher(client))
        self._consumer = ""
        # Pulled and not handed out yet.
        self._held: deque[Delivery] = deque()

    async def __aenter__(self) -> ResultFeed:
        await self._puller.__aenter__()
        await self._take_over()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._puller.__aexit__(*error)

    async def _take_over(self) -> None:
        prefix = names.result_consumer_prefix(self._job_run)
        with translated(f"reading the results of job {self._job_run.job}"):
            for name in await consumers(self._js, names.RESULTS):
                if name.startswith(prefix):
                    with contextlib.suppress(nats.js.errors.NotFoundError):
                        await self._js.delete_consumer(names.RESULTS, name)
            self._consumer = prefix + secrets.token_hex(4)
            config = api.ConsumerConfig(
                durable_name=self._consumer,
                filter_subject=names.result_subject(self._job_run),
                ack_policy=api.AckPolicy.EXPLICIT,
                ack_wait=RESULT_ACK_WAIT,
                max_deliver=-1,
                max_ack_pending=-1,
            )
            try:
                await self._js.add_consumer(names.RESULTS, config)
            except nats.js.errors.NotFoundError as error:
                raise errors.Unavailable("the stream RESULTS is gone; the job's collector makes it again") from error

    async def unread(self) -> int | None:
        """Results not acknowledged yet, pulled or not; None when the consumer is gone. Raises `Unavailable`."""
        with translated(f"counting the results of job {self._job_run.job}"):
            try:
                info = await self._js.consumer_info(names.RESULTS, self._consumer)
            except nats.js.errors.NotFoundError:
                return None
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def pull(self, wanted: int, *, wait: float) -> list[Received]:
        """Up to `wanted` results, or about `BATCH_BYTES` of them, as soon as there are so many or after `wait` seconds.

        When the consumer is gone, because the stream was wiped, it is created again. Raises `Unavailable`.
        """
        if not self._held:
            deliveries = await self._puller.pull(
                names.RESULTS, self._consumer, wanted, wait=wait, max_bytes=BATCH_BYTES
            )
            if deliveries is None:
                logger.warning("the result consumer of job %s is gone, making it again", self._job_run.job)
                await self._take_over()
                return []
            self._held.extend(deliveries)
        received: list[Received] = []
        size = 0
        # Payloads in the object store do not count towards the pulled bytes.
        while self._held and len(received) < wanted and size < BATCH_BYTES:
            received.append(await self._received(self._held[0]))
            size += len(received[-1].payload)
            self._held.popleft()
        return received

    async def _received(self, delivery: Delivery) -> Received:
        try:
            image = names.image_of_subject(delivery.subject)
        except errors.InvalidInput as error:
            # It is acknowledged with the rest.
            logger.error("a result is dropped: %s", error)
            return Received(NO_IMAGE, b"", delivery)
        sha256 = delivery.headers.get(names.OBJECT_HEADER)
        if sha256 is None:
            return Received(image, delivery.payload, delivery)
        try:
            name = names.payload_name(self._job_run, image, sha256)
            payload = await self._payloads.get(name)
        except errors.InvalidInput:
            name, payload = "", None
        if payload is None:
            # An empty payload does not decode, so the collector ignores it and the image stays pending.
            logger.error("result of image %s names a payload that is not there", image)
            return Received(image, b"", delivery)
        return Received(image, payload, delivery, name)

    async def acknowledge(self, received: Sequence[Received]) -> None:
        """Acknowledge results whose rows and status are committed; their large payloads are deleted."""
        with translated(f"acknowledging results of job {self._job_run.job}"):
            for item in received:
                await self._client.publish(item.delivery.ack.subject, b"+ACK")
                if item.stored_as:
                    await self._payloads.drop(item.stored_as)
