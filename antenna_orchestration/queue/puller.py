"""Pull requests to JetStream consumers that do not wait when a consumer is empty.

nats-py's `fetch` waits when a consumer is empty, and needs a subscription per consumer; a worker that turns over
hundreds of jobs has to learn in one round trip that a job has no task. Here all requests share one inbox: a delivered
message names its consumer in its reply subject, and a status names the request in its subject.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from antenna_orchestration import errors
from antenna_orchestration.queue.connection import check_jetstream, translated
from antenna_orchestration.queue.names import AckSubject

GRACE: Final = 5.0
"""Seconds to wait for the server's last message after the request has expired."""

_NO_RESPONDERS: Final = "503"


@dataclass(slots=True)
class Delivery:
    """One delivered message."""

    ack: AckSubject
    subject: str
    payload: bytes
    headers: dict[str, str]
    # Monotonic seconds. The lease begins here, however late the delivery is taken from the puller.
    arrived: float


@dataclass(slots=True)
class _Request:
    consumer: str
    wanted: int
    deliveries: list[Delivery] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    missing: bool = False


class Puller:
    """Pulls from any number of consumers, with one request per consumer at a time. An async context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._by_number: dict[str, _Request] = {}
        self._by_consumer: dict[str, _Request] = {}
        # What arrived after its request was cancelled or timed out; the next pull of that consumer returns it.
        self._late: defaultdict[str, list[Delivery]] = defaultdict(list)
        self._subscription: Subscription | None = None
        # Whether the last question had no answer: the next ones wait until the server is heard again. It would answer
        # all of them once a line that was cut is mended, and hand out as many times the tasks that are wanted.
        self._is_unanswered = False

    async def __aenter__(self) -> Puller:
        with translated("subscribing to deliveries"):
            # The requests bound what can be outstanding; beyond its default limits nats-py would drop messages.
            self._subscription = await self._client.subscribe(
                f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def pull(
        self, stream: str, consumer: str, wanted: int, *, wait: float = 0.0, max_bytes: int = 0
    ) -> list[Delivery] | None:
        """Take up to `wanted` messages: those that are there, or with `wait` those that come within so many seconds.

        With `max_bytes` the answer ends before the message that would exceed it; each message has to be smaller.

        None means that the consumer does not exist. Raises `Unavailable` when the server does not answer. What arrives
        after the call was cancelled is returned by the consumer's next pull, or by `take_late`.
        """
        if late := self._late.pop(consumer, None):
            return self._first(late, consumer, wanted)
        if not self._client.is_connected:
            raise errors.Unavailable("NATS: not connected")
        if self._is_unanswered:
            await check_jetstream(self._client)
            self._is_unanswered = False
        number = str(next(self._numbers))
        request = _Request(consumer, wanted)
        if consumer in self._by_consumer:
            raise errors.InternalError(f"two pulls of {consumer} at the same time")
        self._by_number[number] = self._by_consumer[consumer] = request
        body: dict[str, int | bool] = {"batch": wanted}
        body |= {"no_wait": True} if wait <= 0 else {"expires": int(wait * 1e9)}
        if max_bytes:
            body["max_bytes"] = max_bytes
        try:
            with translated(f"pulling from {consumer}"):
                await self._client.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
                    json.dumps(body).encode(),
                    reply=f"{self._inbox}.{number}",
                )
                async with asyncio.timeout(wait + GRACE):
                    await request.ended.wait()
        except BaseException as error:
            self._is_unanswered |= isinstance(error, errors.Unavailable)
            # They are leased to us all the same: keep them for the next pull, or for `take_late`.
            self._late[consumer].extend(request.deliveries)
            raise
        finally:
            del self._by_number[number]
            del self._by_consumer[consumer]
        # Those of an earlier request may have come as well.
        return None if request.missing else self._first(request.deliveries, consumer, wanted)

    def _first(self, deliveries: list[Delivery], consumer: str, wanted: int) -> list[Delivery]:
        """The first of them; the others are for the consumer's next pull."""
        if rest := deliveries[wanted:]:
            self._late[consumer].extend(rest)
        return deliveries[:wanted]

    def take_late(self) -> list[Delivery]:
        """Everything that arrived after its request was cancelled or timed out, for the caller to hand back."""
        late = [delivery for deliveries in self._late.values() for delivery in deliveries]
        self._late.clear()
        return late

    async def _on_message(self, message: Msg) -> None:
        if message.reply and message.reply.startswith("$JS.ACK."):
            ack = AckSubject.parse(message.reply)
            delivery = Delivery(ack, message.subject, message.data, message.headers or {}, time.monotonic())
            request = self._by_consumer.get(ack.consumer)
            if request is None:
                self._late[ack.consumer].append(delivery)
                return
            request.deliveries.append(delivery)
            if len(request.deliveries) >= request.wanted:
                request.ended.set()
            return
        request = self._by_number.get(message.subject.rpartition(".")[2])
        status = (message.headers or {}).get("Status", "")
        if request is not None and status and status != "100":
            request.missing = status == _NO_RESPONDERS
            request.ended.set()
