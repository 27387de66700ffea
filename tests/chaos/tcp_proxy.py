"""A TCP proxy that lets pass, stalls, refuses, resets and falsifies: the network from a process of ours to a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_BLOCK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends a reset."""


class _Pair:
    """A client's connection and the one to the server behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._ends = (client, server)

    def say(self, data: bytes) -> None:
        self._ends[0].write(data)

    def reset(self) -> None:
        for end in self._ends:
            connection = end.get_extra_info("socket")
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()


class Proxy:
    """Stands before one server on loopback. Its methods may be called from any thread. Made by `before`."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pairs: set[_Pair] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy of {target}", daemon=True)
        self._thread.start()
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._greeting: bytes | None = None
        # Connections that a stranger took in the server's place.
        self.strangers = 0
        self.port = 0
        self._call(self._open())

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing move towards the server (`up`), towards its clients (`down`); connections stay as they are."""
        self._call(self._set(up=not up, down=not down))

    def refuse(self) -> None:
        """Break all connections, and take no new ones."""
        self._call(self._refuse())

    def reset(self) -> None:
        """Break all connections once."""
        self._call(self._reset())

    def say(self, data: bytes) -> None:
        """Send these bytes to all clients, as if they were the server's."""
        self._call(self._say(data))

    def replace_by_stranger(self, greeting: bytes) -> None:
        """Break all connections; whoever connects now gets these bytes, and no answer from the server."""
        self._call(self._replace(greeting))

    def restore(self) -> None:
        """Let everything pass again; what was stalled goes on from where it stopped."""
        self._call(self._restore())

    def close(self) -> None:
        """The end."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(10)

    async def _open(self) -> None:
        self._up, self._down = asyncio.Event(), asyncio.Event()
        await self._set(up=True, down=True)
        await self._listen()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _set(self, *, up: bool, down: bool) -> None:
        for event, moves in ((self._up, up), (self._down, down)):
            event.set() if moves else event.clear()

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _say(self, data: bytes) -> None:
        for pair in self._pairs:
            pair.say(data)

    async def _replace(self, greeting: bytes) -> None:
        self._greeting = greeting
        await self._reset()

    async def _reset(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    async def _restore(self) -> None:
        self._greeting = None
        if self._listener is None:
            await self._listen()
        await self._set(up=True, down=True)

    async def _close(self) -> None:
        await self._refuse()
        await self._set(up=True, down=True)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            # Only `close` cancels, and asyncio's streams would report it as a fault.
            return
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._greeting is not None:
            self.strangers += 1
            with contextlib.suppress(OSError):
                writer.write(self._greeting)
                await writer.drain()
                await reader.read()
            writer.transport.abort()
            return
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, back_writer)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, back_writer, self._up))
                group.create_task(_pump(back_reader, writer, self._down))
        finally:
            self._pairs.discard(pair)
            for end in (writer, back_writer):
                end.transport.abort()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, moves: asyncio.Event) -> None:
    """Pass bytes on while they may move; a connection that ends or breaks at one end does so at the other."""
    try:
        while block := await source.read(_BLOCK):
            await moves.wait()
            sink.write(block)
            await sink.drain()
        await moves.wait()
        sink.transport.close()
    except OSError:
        # Else a client that waits for an answer would wait for ever.
        await moves.wait()
        sink.transport.abort()


def behind(proxy: Proxy, url: str) -> str:
    """The URL of the same server, behind the proxy."""
    parts = urlsplit(url)
    account = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{account}@127.0.0.1:{proxy.port}"))


@contextlib.contextmanager
def before(port: int) -> Iterator[Proxy]:
    """A proxy before the server on a port."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
