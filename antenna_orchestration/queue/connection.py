"""One connection to NATS per process, and the translation of its errors into ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Final
from urllib.parse import unquote, urlsplit

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration import errors, server_urls
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.queue import names
from antenna_orchestration.queue.reconnecting import EXPECTED, ReconnectingClient

logger = logging.getLogger(__name__)

PENDING_BYTES = 64 * 2**20
"""Bytes that a client buffers while it reconnects; beyond that, publishing fails."""

ANSWER: Final = 5.0
"""Seconds in which JetStream answers a question, if it is there."""

REMIND_AFTER: Final = (10.0, 50.0, 240.0)
REMIND_EVERY: Final = 600.0
"""Seconds of an outage until it is told once more: after 10 s, a minute and five minutes, then every ten minutes."""


_ABSENT: Final = (
    "NATS at %s cannot be reached since %s (%s), trying on: start its stack (`antenna up`) or server again; if that "
    "has moved, start this process again with the new address"
)
_REFUSED: Final = (
    "NATS at %s refuses this login since %s (%s), trying on: it was revoked or has another password; start this "
    "process again with a new one (`antenna token create --kind nats` makes one for a site)"
)


async def connect(url: str, *, name: str, inbox_prefix: str = "_INBOX", wait: float = 5.0) -> Client:
    """Connect, trying for `wait` seconds; from then on the client reconnects by itself for ever.

    `url` may name several members of a cluster, separated by commas; the client learns the others from the member that
    answers. Raises `Unavailable` when none answers in time or when the credentials are refused, and `InvalidSetting`
    for URLs with different credentials.
    """
    members, login = _members(url)
    if any(member.startswith(("ws:", "wss:")) for member in members):
        _bring_websockets()
    shown = server_urls.without_password(url)
    last_fault = ""

    async def on_error(error: Exception) -> None:
        nonlocal last_fault
        # nats-py reports each failed attempt here, some with an empty message.
        last_fault = str(error) or type(error).__name__
        if isinstance(error, EXPECTED) or not client.is_connected:
            logger.debug("nats %s: %s", shown, last_fault)
        else:
            # Raised by a function of ours that nats-py had called with a message.
            logger.error("a message from %s was not handled", shown, exc_info=error)

    async def on_disconnect() -> None:
        nonlocal last_fault
        # nats-py calls this when we close the connection, too.
        if not client.is_closed:
            last_fault = ""
            logger.warning("connection to %s lost, reconnecting", shown)
            outage.begin()

    async def on_reconnect() -> None:
        outage.end()
        logger.info("connected to %s again", shown)

    async def on_close() -> None:
        outage.end()

    client = ReconnectingClient()
    outage = _Outage(shown, lambda: last_fault)
    try:
        async with asyncio.timeout(wait):
            await client.connect(
                members,
                # For all members: a learned address has no credentials of its own.
                **login,
                name=name,
                inbox_prefix=inbox_prefix.encode(),
                error_cb=on_error,
                disconnected_cb=on_disconnect,
                reconnected_cb=on_reconnect,
                closed_cb=on_close,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,
                ping_interval=10,
                max_outstanding_pings=2,
                pending_size=PENDING_BYTES,
            )
    except EXPECTED as error:
        with _quietly():
            await client.close()
        why = last_fault or str(error) or "no answer"
        raise errors.Unavailable(f"NATS at {shown} cannot be reached: {why}") from error
    return client


def _bring_websockets() -> None:
    """Give nats-py what it was imported without (`queue/__init__.py`)."""
    import aiohttp
    import multidict
    from nats.aio import transport

    transport.aiohttp, transport.multidict = aiohttp, multidict


class _Outage:
    """Tells from time to time that a server cannot be reached, for whoever looks at a terminal only now."""

    def __init__(self, shown: str, fault: Callable[[], str]) -> None:
        self._shown = shown
        self._fault = fault
        self._telling: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """The connection was lost."""
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell(), name="tell of the outage of NATS")

    def end(self) -> None:
        """There is a connection again, or none is wanted."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None

    async def _tell(self) -> None:
        since = datetime.now().astimezone()
        lasted = timedelta()
        for pause in chain(REMIND_AFTER, repeat(REMIND_EVERY)):
            await asyncio.sleep(pause)
            lasted += timedelta(seconds=pause)
            what = _REFUSED if "authorization" in self._fault().lower() else _ABSENT
            logger.warning(what, self._shown, since.strftime("%H:%M:%S"), duration(lasted.total_seconds()))


def _members(url: str) -> tuple[list[str], dict[str, str]]:
    """The URLs of a list, and the login that they share."""
    members = [member.strip() for member in url.split(",") if member.strip()]
    logins: list[dict[str, str]] = []
    for member in members:
        try:
            parts = urlsplit(member if "://" in member else f"nats://{member}")
            _ = parts.port
        except ValueError:
            # What the library says may show a part of the password.
            shown = server_urls.without_password(url)
            raise errors.InvalidSetting(f"NATS URL {shown} has no valid port; {server_urls.ADVICE}") from None
        if parts.username and parts.password is not None:
            logins.append({"user": unquote(parts.username), "password": unquote(parts.password)})
        elif parts.username:
            logins.append({"token": unquote(parts.username)})
    if not members:
        raise errors.InvalidSetting("the NATS URL is empty")
    if any(login != logins[0] for login in logins):
        raise errors.InvalidSetting("the NATS URLs of one setting have different credentials; a cluster shares them")
    return members, logins[0] if logins else {}


def worker_inbox(url: str) -> str:
    """The inbox prefix of the worker that a URL logs in. Raises `InvalidSetting` as `connect` does."""
    _, login = _members(url)
    return names.inbox_of_user(login.get("user", ""))


@asynccontextmanager
async def connected(url: str, *, name: str, inbox_prefix: str = "_INBOX") -> AsyncIterator[Client]:
    """A connection for the duration of a block; what was published is flushed before it closes."""
    client = await connect(url, name=name, inbox_prefix=inbox_prefix)
    try:
        yield client
    finally:
        with _quietly():
            if client.is_connected:
                await client.flush(timeout=2)
        with _quietly():
            await client.close()


async def check(client: Client) -> None:
    """Raise `Unavailable` when the server does not answer now."""
    if not client.is_connected:
        raise errors.Unavailable("NATS: not connected")
    with translated("asking NATS"):
        await client.flush(timeout=3)


async def check_jetstream(client: Client) -> None:
    """Raise `Unavailable` when JetStream does not answer now, be it behind a leaf node that does."""
    if not client.is_connected:
        raise errors.Unavailable("NATS: not connected")
    with translated("asking JetStream"):
        # Whoever may lease may ask this. An error is an answer, too.
        await client.request(f"$JS.API.STREAM.INFO.KV_{names.JOBS_BUCKET}", timeout=ANSWER)


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress the errors of closing a connection that is broken already."""
    try:
        yield
    except EXPECTED as error:
        logger.debug("while closing: %s", error)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what nats-py raises into `Unavailable` or `QueueFull`, with `what` was being done in front.

    `NotFoundError` passes, because for some callers a missing stream, consumer or key is an answer.
    """
    try:
        yield
    except nats.js.errors.NotFoundError:
        raise
    except nats.js.errors.APIError as error:
        if "maximum bytes" in (error.description or "") or "resource limits" in (error.description or ""):
            raise errors.QueueFull(f"{what}: the stream is full ({error.description})") from error
        raise errors.Unavailable(f"{what}: {error.description or error}") from error
    except EXPECTED as error:
        raise errors.Unavailable(f"{what}: {str(error) or type(error).__name__}") from error
