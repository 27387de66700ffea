"""HTTP as this gateway speaks it: uvicorn's protocol, with bounds on what a client sends and on how long it takes.

A request's head is bounded in bytes and in time; bodies and answers have to move on, however long they take in all;
silent and idle connections end. What is closed for that is told why, as far as it still can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import logging
import secrets
import struct
import termios
from collections.abc import Iterable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from antenna_orchestration import errors
from antenna_orchestration.gateway.clients import neighbourhood
from antenna_orchestration.gateway.connections import Connections
from antenna_orchestration.gateway.middleware import HEADERS
from antenna_orchestration.gateway.throughput import Throughput

logger = logging.getLogger(__name__)

LONGEST_HEAD: Final = 64 * 1024
"""Bytes of a request before its body, and of what surrounds the pieces of a body: chunk extensions, trailers."""

HEAD_TOO_LONG: Final = f"the request's head is larger than {LONGEST_HEAD} bytes, or so much surrounds its body"

MOST_AHEAD: Final = 16
"""Requests that a client may send before the first is answered."""

MOST_UNWANTED: Final = 128 * 2**20
"""Bytes of a body that are read and thrown away after its answer: who is cut off while it sends never sees that."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at all connections."""


class Guard:
    """What the connections of one server share: their table, the time that they have, and a look at all of them."""

    def __init__(self, *, connections: Connections, patience: float, proxies: Iterable[str]) -> None:
        self.table = connections
        self.patience = patience
        # Closing ones, too: a client that reads nothing keeps one open.
        self.open: set[GuardedProtocol] = set()
        self._proxies = [ipaddress.ip_network(proxy) for proxy in proxies]
        self._looking: asyncio.TimerHandle | None = None

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn makes its connections with."""
        return cast(type[asyncio.Protocol], partial(GuardedProtocol, guard=self))

    def is_proxy(self, host: str) -> bool:
        """Whether connections from this address are those of many clients."""
        if not self._proxies:
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in proxy for proxy in self._proxies)

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at all connections from now on, as long as there are any."""
        if self._looking is None:
            self._looking = loop.call_later(LOOK_EVERY, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = None
        now = loop.time()
        for connection in list(self.open):
            connection.look(now)
        if self.open:
            self.look(loop)


class GuardedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: Config, *args: Any, guard: Guard, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._guard = guard
        self._table = guard.table
        self.owner = ""
        # Of the message that is being received.
        self._in_head = False
        self._in_body = False
        self._awaits_since: float | None = None
        self._steps = 0
        self._around = 0
        self._unwanted = 0
        now = self.loop.time()
        self._reading = Throughput(guard.patience, now=now)
        self._writing = Throughput(guard.patience, now=now)
        self._unread: int | None = None
        self._refused = False
        self._is_head_too_long = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, unless there are too many."""
        super().connection_made(transport)
        self._guard.open.add(self)
        self._guard.look(self.loop)
        host = self.client[0] if self.client else "unknown"
        self.owner = f"address {neighbourhood(host)}"
        now = self._awaits_since = self.loop.time()
        if not self._table.admit(self, now=now, is_shared=self._guard.is_proxy(host)):
            self._refused = True
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again in a while")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._table.leave(self)
        self._guard.open.discard(self)
        super().connection_lost(exc)

    def close_idle(self) -> None:
        """Close it, because another one needs its place."""
        if self.transport.get_write_buffer_size():
            # It has not read its last answer, and would stay until it does.
            self.transport.abort()
        else:
            self.transport.close()

    def is_owned_by(self, owner: str) -> bool:
        """Say who a request on this connection came from; False if that one has too many connections."""
        return self._table.belongs_to(self, owner)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._awaits_since is None and not self._in_body:
            self._awaits_since = self.loop.time()
        steps = self._steps
        super().data_received(data)
        self._around = self._around + len(data) if steps == self._steps else 0
        if self._around > LONGEST_HEAD:
            self._turn_away(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                HEAD_TOO_LONG,
            )
        elif self._unwanted > MOST_UNWANTED:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        self._in_head = True
        if self._awaits_since is None:
            self._awaits_since = self.loop.time()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came. What follows a body in its trailers is none."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request's head came, and the request begins."""
        # What is raised here the parser reports as a request that cannot be read.
        if len(self.pipeline) >= MOST_AHEAD:
            raise errors.TooMany("too many requests before the first is answered")
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LONGEST_HEAD:
            # All of it came with one read from the socket.
            self._is_head_too_long = True
            raise errors.TooLarge(HEAD_TOO_LONG)
        self._steps += 1
        self._in_head, self._in_body = False, True
        self._awaits_since = None
        self._unwanted = 0
        self._reading.restart(self.loop.time())
        self._table.begin(self)
        # Whoever authenticates the request says here whose the connection is.
        self.scope["state"]["connection"] = self
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body came."""
        self._steps += 1
        self._reading.add(len(body))
        if self.cycle.response_complete:
            self._unwanted += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request came to its end."""
        self._steps += 1
        self._in_body = False
        super().on_message_complete()
        if self.cycle.response_complete:
            # Its answer came first, so that the time of an idle connection has not begun.
            self._awaits_since = self.loop.time()
            self._rest_if_idle()

    def on_response_complete(self) -> None:
        """An answer was given; the connection is idle, unless the client asked ahead."""
        super().on_response_complete()
        self._rest_if_idle()

    def _rest_if_idle(self) -> None:
        if not self.pipeline and not self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._table.rest(self, now=self.loop.time())

    def pause_writing(self) -> None:
        """The client has not read what it was sent."""
        self._unread = None
        super().pause_writing()

    def resume_writing(self) -> None:
        """It has read most of it."""
        self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read."""
        self._refused = True
        if self._is_head_too_long:
            self._turn_away(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEAD_TOO_LONG)
        else:
            self._turn_away(HTTPStatus.BAD_REQUEST, msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the request is answered like any other."""

    def look(self, now: float) -> None:
        """End what takes too long."""
        if self.transport.is_closing() or self.flow.write_paused:
            self._look_at_writing(now)
        elif self._awaits_since is not None:
            if self.cycle is not None and not self.cycle.response_complete:
                # An earlier request is still being answered.
                self._awaits_since = now
            elif now - self._awaits_since > self._guard.patience:
                seconds = f"{self._guard.patience:g} s"
                self._end("no request", HTTPStatus.REQUEST_TIMEOUT, f"the request's head took longer than {seconds}")
        elif self._in_body:
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:
                self._reading.restart(now)
            elif self._reading.is_too_slow(now):
                self._end("a slow body", HTTPStatus.REQUEST_TIMEOUT, "the body came too slowly")

    def _look_at_writing(self, now: float) -> None:
        unread = self._left_to_read()
        if self._unread is None:
            self._writing.restart(now)
        else:
            self._writing.add(max(self._unread - unread, 0))
            if self._writing.is_too_slow(now):
                logger.info("ended a connection of %s: it did not read what it was sent", self.owner)
                self.transport.abort()
        self._unread = unread

    def _left_to_read(self) -> int:
        """Bytes that were sent and not received: ours, and the kernel's, which sees to megabytes by itself."""
        kept = struct.pack("i", 0)
        with contextlib.suppress(OSError, AttributeError, ValueError):
            kept = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kept)
        return cast(int, self.transport.get_write_buffer_size() + struct.unpack("i", kept)[0])

    def _end(self, why: str, status: HTTPStatus, detail: str) -> None:
        logger.info("ended a connection of %s: %s", self.owner, why)
        self._turn_away(status, detail)

    def _turn_away(self, status: HTTPStatus, detail: str) -> None:
        """Close the connection, with an answer unless another one is under way. The request, if any, is broken off."""
        self._table.leave(self)
        if self.transport.is_closing():
            return
        if self._may_be_told():
            body = json.dumps({"detail": detail}).encode()
            headers = {
                **HEADERS,
                "X-Request-Id": secrets.token_hex(8),
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close",
            }
            lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[status] + lines.encode() + b"\r\n" + body)
        self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _may_be_told(self) -> bool:
        """Whether an answer can follow what was sent: not into another one, nor to a client that asked for nothing."""
        if self.pipeline:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return not self.cycle.response_started
        return self._in_head or self._refused
