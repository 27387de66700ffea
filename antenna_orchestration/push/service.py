"""Client of a processing service: whether it is ready, what it serves, and the outcome of a post.

What happens to the images of a failed post depends on the cause, so a post returns one of four outcomes and raises
nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import pydantic

from antenna_orchestration import __version__, errors, server_urls
from antenna_orchestration.contract import models
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.processing import loops

LOOK_TIMEOUT: Final = 10.0
"""Time-out in seconds of `/readyz`, `/livez` and `/info`; a service may be loading its models meanwhile."""

CONNECT_TIMEOUT: Final = 10.0

TRIES: Final = 3
"""Times that a batch is posted while the service answers with an error of its own."""

BETWEEN_TRIES: Final = Backoff(first=0.5, longest=5.0, spread=1.0)
"""Pauses between those posts: anything from none to one second before the second, to two before the third."""

WHILE_BUSY: Final = 1.0
"""Seconds between posts of a batch that a busy service does not take yet. No attempt is counted, nor a delivery."""

SHOWN: Final = 300
"""Characters of an error's body that are shown to people."""

_PASSING: Final = frozenset({408, 425, 429})
_MISPLACED: Final = frozenset({401, 402, 403, 404, 405, 407, 410})
"""Statuses that are about the service, and not about the images."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The service processed the batch; `body` is its answer."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The service does not accept the batch, because of one of its images."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The service failed on the batch repeatedly or took too long, although it is ready."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The service is not ready or cannot be reached."""

    reason: str
    # Whether it stopped while it had the batch, which may have been the cause.
    had_batch: bool = False


Outcome = Answer | Refused | Failed | Gone


class _Passing(Exception):
    """An answer that may be a different one if the batch is posted again."""


class _Busy(Exception):
    """The service has taken nothing, as it is full or loads its models, and says that it will take the batch later."""


class _TooLarge(Exception):
    """An answer that is too large to be read."""


class ProcessingService:
    """Client of one service. Use it as an async context manager."""

    def __init__(self, url: str, *, timeout: float, connections: int, largest: int) -> None:
        """`url` is the address of the service, with or without a path; `timeout` is that of a post, in seconds."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise errors.InvalidInput(f"{server_urls.without_password(url)!r} is not the address of a service")
        self._url = url.rstrip("/")
        self.name = server_urls.without_password(self._url)
        self._timeout = timeout
        self._connections = connections
        self._largest = largest
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ProcessingService:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=LOOK_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            headers={"User-Agent": f"antenna-orchestration/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def why_not_ready(self) -> str | None:
        """Why nothing can be posted now; None when it can.

        A service without `/readyz` is asked for `/livez`.
        """
        try:
            status, _ = await self._ask("GET", "readyz")
            if status in (404, 405):
                status, _ = await self._ask("GET", "livez")
        except errors.Unavailable as error:
            return str(error)
        return None if status == 200 else f"{self.name} is not ready: HTTP {status}"

    async def info(self) -> models.ServiceInfo:
        """What it serves. Raises `Unavailable`, also when the answer cannot be read or nothing can be posted."""
        status, body = await self._ask("GET", "info")
        if status != 200:
            raise errors.Unavailable(f"{self.name}/info answers HTTP {status}")
        try:
            info = models.ServiceInfo.model_validate_json(body)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise errors.Unavailable(f"{self.name}/info cannot be read: {where}: {first['msg']}") from None
        # A service refuses an empty post, so another answer shows a wrong address before anything is leased.
        status, _ = await self._ask("POST", "process", b"{}")
        if status in _MISPLACED:
            raise errors.Unavailable(f"{self.name}/process answers HTTP {status}; is this the service's address?")
        return info

    async def process(self, body: bytes, *, stopping: asyncio.Event, begin_within: float) -> Outcome:
        """Post a batch.

        After an error of the service's own it is posted again, up to `TRIES` times, and while it is busy as often as it
        takes, but not later than `begin_within` seconds from now, nor once `stopping` is set.
        """
        try:
            return await self._post_repeatedly(body, stopping=stopping, begin_until=time.monotonic() + begin_within)
        except (_Passing, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._timeout:.0f} s"
            why_not = await self.why_not_ready()
            return Failed(reason) if why_not is None else Gone(f"{reason}; {why_not}", had_batch=True)
        except _TooLarge as error:
            return Refused(str(error))
        except aiohttp.ClientConnectorError as error:
            return Gone(f"{self.name}: {_plain(error)}")
        except (aiohttp.ClientError, OSError) as error:
            return Gone(f"{self.name} broke off: {_plain(error)}", had_batch=True)

    async def _post_repeatedly(self, body: bytes, *, stopping: asyncio.Event, begin_until: float) -> Outcome:
        """Post until there is an outcome; raises the last `_Passing` when it must not be posted any more."""
        failures = 0
        while True:
            try:
                return await self._post(body)
            except _Busy as busy:
                if stopping.is_set() or time.monotonic() + WHILE_BUSY >= begin_until:
                    return Gone(str(busy))
                await loops.rest(WHILE_BUSY, unless=stopping)
                continue
            except _Passing:
                failures += 1
                if failures == TRIES or time.monotonic() >= begin_until:
                    raise
            await loops.rest(BETWEEN_TRIES.pause(failures), unless=stopping)
            if stopping.is_set():
                raise _Passing("asked to leave")

    async def _post(self, body: bytes) -> Outcome:
        status, said, retry_after = await self._send("POST", "process", body, self._timeout)
        if status == 200:
            return Answer(said)
        reason = _reason(status, said)
        if status == 503 and retry_after:
            raise _Busy(reason)
        if status >= 500 or status in _PASSING:
            raise _Passing(reason)
        if status in _MISPLACED:
            return Gone(reason)
        return Refused(reason)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            status, said, _ = await self._send(method, path, body, LOOK_TIMEOUT)
        except TimeoutError:
            raise errors.Unavailable(f"{self.name}/{path} does not answer within {LOOK_TIMEOUT:.0f} s") from None
        except (aiohttp.ClientError, OSError, _TooLarge) as error:
            raise errors.Unavailable(f"{self.name}: {_plain(error)}") from None
        return status, said

    async def _send(self, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes, str]:
        """Status, body and `Retry-After`."""
        assert self._session is not None
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        # Appended to the whole address, since a service may have a path prefix.
        async with self._session.request(
            method, f"{self._url}/{path}", data=body, timeout=limits,
            headers={"Content-Type": "application/json"} if body is not None else None,
        ) as response:  # fmt: skip
            chunks: list[bytes] = []
            size = 0
            async for chunk in response.content.iter_chunked(256 * 1024):
                size += len(chunk)
                if size > self._largest:
                    raise _TooLarge(f"the processing service answered with more than {self._largest} bytes")
                chunks.append(chunk)
            return response.status, b"".join(chunks), response.headers.get("Retry-After", "")


def _reason(status: int, said: bytes) -> str:
    text = " ".join(said[: 4 * SHOWN].decode(errors="replace").split())[:SHOWN]
    return f"the processing service answered HTTP {status}" + (f": {text}" if text else "")


def _plain(error: Any) -> str:
    """The operating system's message if there is one: aiohttp's own repeats the URL, which may hold a password."""
    inner = getattr(error, "os_error", None) or error.__cause__
    if isinstance(inner, OSError) and inner.strerror:
        return str(inner.strerror)
    return str(error).partition("url=")[0].strip(" ,") or type(error).__name__
