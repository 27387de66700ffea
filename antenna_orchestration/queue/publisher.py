"""Publishing many messages with JetStream's confirmation of each, at wire speed.

nats-py's `publish` waits for each confirmation in turn, and its `publish_async` makes a random token and three
callbacks per message; both are several times slower than the server. This publisher sends a whole chunk with a numbered
reply subject below one subscription, and counts the confirmations as they come.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.queue.connection import translated

ALREADY_THERE = "maximum messages per subject exceeded"
"""The server's text when a subject has a message already. Its code (10077) stands for other refusals, too."""


TAKES_NONE = "if NATS' disk is or was full, it takes no more messages until it is restarted"
"""What a user's own server needs; ours is restarted by the stack."""


class Message(NamedTuple):
    """A message to publish."""

    subject: str
    payload: bytes
    headers: Mapping[str, str] | None = None


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Confirmation(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


@dataclass(slots=True)
class _Chunk:
    expected: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    stored: int = 0
    refused: int = 0
    repeated: int = 0
    fault: str | None = None

    def count(self, confirmation: _Confirmation) -> None:
        if confirmation.error is None:
            self.stored += 1
            self.repeated += confirmation.duplicate
        elif confirmation.error.description == ALREADY_THERE:
            self.refused += 1
        else:
            self.fault = confirmation.error.description or f"error {confirmation.error.err_code}"
        if self.fault or self.stored + self.refused == self.expected:
            self.done.set()


@dataclass(frozen=True, slots=True)
class Confirmed:
    """How many messages the server stored, and how many it refused because that subject is already taken."""

    stored: int
    refused: int
    # Of the stored ones: those that the server had already, by their message ids.
    repeated: int = 0


class Publisher:
    """Publishes chunks of messages; several asyncio tasks can share it. Use it as an async context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._numbers = itertools.count()
        self._chunks: dict[str, _Chunk] = {}
        self._subscription: Subscription | None = None
        self._decoder = msgspec.json.Decoder(_Confirmation)

    async def __aenter__(self) -> Publisher:
        with translated("subscribing to confirmations"):
            self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._on_confirmation)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()

    async def publish(self, messages: Sequence[Message], *, timeout: float = 10.0) -> Confirmed:
        """Publish all, and wait until each is confirmed or refused because its subject has a message already.

        Raises `QueueFull` when the stream is at its limit, and `Unavailable` when no confirmation comes for `timeout`
        seconds and some are missing. Some messages may be stored then; publishing all again is idempotent.
        """
        if not messages:
            return Confirmed(0, 0)
        number = str(next(self._numbers))
        chunk = self._chunks[number] = _Chunk(expected=len(messages))
        reply = f"{self._inbox}.{number}"
        try:
            with translated("publishing"):
                for message in messages:
                    headers = dict(message.headers) if message.headers else None
                    await self._client.publish(message.subject, message.payload, reply=reply, headers=headers)
                await self._all_confirmed(chunk, timeout)
        finally:
            del self._chunks[number]
        if chunk.fault:
            full = "maximum bytes" in chunk.fault or "resource limits" in chunk.fault
            raise (errors.QueueFull if full else errors.Unavailable)(f"publishing: {chunk.fault}")
        return Confirmed(chunk.stored, chunk.refused, chunk.repeated)

    async def _all_confirmed(self, chunk: _Chunk, timeout: float) -> None:
        """Wait until nothing is missing. Raises `Unavailable` after `timeout` seconds without a confirmation."""
        while not chunk.done.is_set():
            before = chunk.stored + chunk.refused
            try:
                async with asyncio.timeout(timeout):
                    await chunk.done.wait()
            except TimeoutError:
                if chunk.stored + chunk.refused == before:
                    missing = chunk.expected - before
                    raise errors.Unavailable(
                        f"publishing: {counted(missing, 'message')} not confirmed; {TAKES_NONE}"
                    ) from None

    async def _on_confirmation(self, message: Msg) -> None:
        chunk = self._chunks.get(message.subject.rpartition(".")[2])
        if chunk is None:
            return
        if not message.data:
            # Status 503: no stream has this subject.
            chunk.fault = "no stream takes this subject"
            chunk.done.set()
            return
        chunk.count(self._decoder.decode(message.data))
