"""nats-py's client, whose connection never dies in silence.

nats-py reads, writes and pings in background tasks, and reconnects when one of them meets an error that it expects. Of
any other error the task dies alone: the client calls itself connected, and nothing arrives any more. A reconnection
that dies so is never tried again, and after most errors that a server reports the client is closed for good. Here each
of these ends begins a reconnection. What nats-py does right stays its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from antenna_orchestration import kernel

logger = logging.getLogger(__name__)

EXPECTED: Final = (OSError, TimeoutError, nats.errors.Error)
"""What nats-py raises, and handles itself where it runs in the background."""

CLOSING: Final = 1.0
"""Seconds in which a connection that is given up may deliver what was written to it."""

_ABOUT_ONE_SUBJECT: Final = "permissions violation"
"""The one error of a server after which it keeps the connection."""


class ReconnectingClient(Client):  # type: ignore[misc]
    """A client that reconnects whatever ended its connection, until it is closed by us."""

    _transport: Any
    _pending: list[bytes]
    _pending_data_size: int

    async def _connect_to_server(self, server: Any) -> None:
        # What an attempt that failed after its handshake has left would read from the new connection.
        for task in self._background_tasks():
            task.cancel()
        if server.uri.scheme not in ("ws", "wss"):
            # nats-py keeps one of its own for websockets, whose session it closes.
            if self._transport is not None:
                self._transport.close()
            self._transport = _Transport()
        await super()._connect_to_server(server)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except EXPECTED:
            raise
        except Exception as error:
            # Whoever answers there speaks another protocol.
            raise nats.errors.Error(f"not the answer of a NATS server ({error!r})") from error

    async def _read_loop(self) -> None:
        await self._watched("reading", super()._read_loop())

    async def _flusher(self) -> None:
        await self._watched("writing", super()._flusher())

    async def _ping_interval(self) -> None:
        await self._watched("pinging", super()._ping_interval())

    async def _watched(self, what: str, work: Awaitable[None]) -> None:
        """Reconnect when a background task ends although the connection is in use."""
        why = "it ended"
        try:
            await work
        except Exception as error:
            why = repr(error)
        task = asyncio.current_task()
        is_wanted = task in self._background_tasks() and not kernel.is_cancelled()
        if is_wanted and self.is_connected:
            logger.warning("%s on a connection to NATS failed, connecting anew: %s", what, why)
            await self._process_op_err(nats.errors.Error(why))

    def _background_tasks(self) -> list[asyncio.Task[None]]:
        tasks = (self._reading_task, self._flusher_task, self._ping_interval_task)
        return [task for task in tasks if task is not None]

    async def _process_pong(self) -> None:
        # The answer to a ping whose sender has stopped waiting; nats-py would answer it, which raises.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        if _ABOUT_ONE_SUBJECT in err_msg:
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"the server ended the connection: {err_msg.strip(chr(39))}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _attempt_reconnect(self) -> None:
        while True:
            try:
                await super()._attempt_reconnect()
            except Exception as error:
                logger.warning("reconnecting to NATS failed, trying again: %r", error)
            else:
                if self.is_connected:
                    return
            if self.is_closed or kernel.is_cancelled():
                return
            self._status = Client.RECONNECTING
            await asyncio.sleep(self.options["reconnect_time_wait"])

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Close, although the connection may be lost or the server may take nothing more."""
        if self.is_connected and self._pending:
            pending, self._pending = self._pending, []
            with contextlib.suppress(OSError):
                async with asyncio.timeout(CLOSING):
                    self._transport.writelines(pending)
                    await self._transport.drain()
        if not self.is_closed:
            # nats-py would wait until they are written.
            self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)


class _Transport(TcpTransport):  # type: ignore[misc]
    """A connection on which writing raises nothing but `OSError`, and closing takes a bounded time."""

    def __bool__(self) -> bool:
        # nats-py puts its own in place of one that is not connected.
        return True

    def write(self, payload: bytes) -> None:
        if self._io_writer is None:
            raise ConnectionResetError("not connected")
        try:
            self._io_writer.write(payload)
        except RuntimeError as error:
            # uvloop's word for a connection that was lost.
            raise ConnectionResetError(str(error)) from error

    def writelines(self, payload: list[bytes]) -> None:
        # asyncio's own `writelines` breaks on a lost connection, and early releases bound nothing that it buffers
        # (Python 3.12 and 3.13).
        self.write(b"".join(payload))

    async def drain(self) -> None:
        if self._io_writer is not None:
            await super().drain()

    async def wait_closed(self) -> None:
        if self._io_writer is None:
            return
        try:
            async with asyncio.timeout(CLOSING):
                await super().wait_closed()
        except TimeoutError:
            # What was written waits for a server that takes nothing, and would for minutes.
            self._io_writer.transport.abort()
