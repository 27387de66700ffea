"""A web server of photographs in a process of its own, with a bound like that of a small one. `python -m` runs it.

Every path is the same bytes, which only pipelines that open them would find to be no photograph.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

CONGESTION = b"cubic"
"""What most web servers send with, whatever this machine does."""


@dataclass(frozen=True)
class ImageHost:
    """A server, as its users know it. Made by `image_host`."""

    url: str

    def uris(self, count: int) -> list[str]:
        """So many photographs."""
        return [f"{self.url}/{number:06}.jpg" for number in range(count)]

    def counted(self) -> dict[str, int]:
        """`served`, `refused`, and the `most` that were served at the same time."""
        with urllib.request.urlopen(f"{self.url}/counted", timeout=30) as answer:
            found: dict[str, int] = json.load(answer)
        return found


@contextlib.contextmanager
def image_host(address: str, *, size: int, slots: int = 0, seconds: float = 0.0) -> Iterator[ImageHost]:
    """Serve photographs of `size` bytes on a free port of the address, each after so many seconds.

    With `slots` it serves so many at the same time and answers 503 to others.
    """
    command = [sys.executable, "-m", "tests.engines.image_host", address, str(size), str(slots), str(seconds)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield ImageHost(f"http://{address}:{port}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Server:
    def __init__(self, size: int, slots: int, seconds: float) -> None:
        self._photograph = os.urandom(size)
        self._slots = slots
        self._seconds = seconds
        self._busy = self._served = self._refused = self._most = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head, writer)
        writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /counted"):
            counted = {"served": self._served, "refused": self._refused, "most": self._most}
            return await _send(writer, "200 OK", json.dumps(counted).encode())
        if self._slots and self._busy >= self._slots:
            self._refused += 1
            return await _send(writer, "503 Service Unavailable", b"")
        self._busy += 1
        self._most = max(self._most, self._busy)
        try:
            # The server is as slow as it was told to be; nobody waits for a condition here.
            await asyncio.sleep(self._seconds)
            await _send(writer, "200 OK", self._photograph)
            self._served += 1
        finally:
            self._busy -= 1


async def _send(writer: asyncio.StreamWriter, status: str, body: bytes) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


async def _run() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("size", type=int)
    parser.add_argument("slots", type=int)
    parser.add_argument("seconds", type=float)
    wanted = parser.parse_args()
    listening = socket.create_server((wanted.address, 0), backlog=1024)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION)
    server = await asyncio.start_server(_Server(wanted.size, wanted.slots, wanted.seconds).serve, sock=listening)
    print(listening.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_run())
