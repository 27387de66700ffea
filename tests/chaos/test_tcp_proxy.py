"""The network of the fault tests itself: what it loses would look like a stall of ours."""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.chaos import tcp_proxy
from tests.waiting import PATIENCE


async def test_a_reset_by_the_server_reaches_who_waits_for_an_answer() -> None:
    """PostgreSQL sends one when it ends while a statement arrives; a collector waited for that answer for ever."""

    async def end_without_reading(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(end_without_reading, "127.0.0.1", 0)
    with tcp_proxy.before(server.sockets[0].getsockname()[1]) as network:
        async with server, asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", network.port)
            assert await _rest_of(reader) == b""
            writer.transport.abort()


async def _rest_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
