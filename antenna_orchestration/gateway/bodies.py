"""Receiving bodies: decompressed, limited in size, one by one and together, and written to disk beyond a megabyte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fastapi import Request

from antenna_orchestration import errors
from antenna_orchestration.gateway.budget import Room

BLOCK: Final = 2**20
"""Bytes decompressed and written at a time."""

STEP: Final = 8 * 2**20
"""Bytes after which a body's room is counted anew: little that was received may unpack to much."""

MOST_PIECES: Final = 1_000
"""Pieces as they were received, written at a time: a million of one byte each would take much memory."""

_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A complete body, either in memory (`data`) or in a temporary file (`path`)."""

    size: int
    data: bytes | None
    path: Path | None


class _Sink:
    """Collects the pieces of a body, decompressed if necessary, in memory or in a file."""

    def __init__(self, *, folder: Path, limit: int, in_memory: int, gzipped: bool) -> None:
        self._folder = folder
        self._limit = limit
        self._in_memory = in_memory
        self._unpacker = zlib.decompressobj(_GZIP) if gzipped else None
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.path: Path | None = None
        self.size = 0

    def add(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Take pieces in. Returns those that are left when the body grew by a step; they come next.

        Raises `InvalidInput`, `TooLarge`, and `Unavailable` when they cannot be written.
        """
        left = [piece for piece in reversed(pieces) if piece]
        step = self.size + STEP
        try:
            while left and self.size < step:
                piece = left.pop()
                rest = self._put(piece) if self._unpacker is None else self._unpack(self._unpacker, piece)
                if rest:
                    left.append(rest)
        except OSError as error:
            raise errors.Unavailable(f"a body cannot be written to {self._folder}: {error.strerror}") from error
        return left[::-1]

    def _unpack(self, unpacker: zlib._Decompress, piece: bytes) -> bytes:
        # In blocks: a few compressed kilobytes may decompress to gigabytes.
        if unpacker.eof:
            # zlib would buffer it in memory without a limit.
            raise errors.InvalidInput("data follows the end of the gzip body")
        try:
            self._put(unpacker.decompress(piece, BLOCK))
        except zlib.error as error:
            raise errors.InvalidInput(f"the body is not gzip: {error}") from None
        return unpacker.unconsumed_tail or unpacker.unused_data

    def finish(self) -> Body:
        if self._unpacker is not None:
            self._put(self._unpacker.flush())
            if not self._unpacker.eof:
                raise errors.InvalidInput("the gzip body ends too early")
        if self._file is not None:
            self._file.close()
            return Body(size=self.size, data=None, path=self.path)
        return Body(size=self.size, data=bytes(self._memory), path=None)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    def _put(self, data: bytes) -> bytes:
        self.size += len(data)
        if self.size > self._limit:
            raise errors.TooLarge(f"the body is larger than {self._limit} bytes")
        if self._file is None and self.size <= self._in_memory:
            self._memory += data
            return b""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix="post-", dir=self._folder)
            self.path = Path(name)
            self._file = os.fdopen(handle, "wb")
            self._file.write(self._memory)
            self._memory = bytearray()
        self._file.write(data)
        return b""


async def _read_on(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read and discard the rest of a refused body: a client that is cut off while it sends never sees the answer."""
    dropped = 0
    async for piece in stream:
        dropped += len(piece)
        if dropped > limit:
            return


@asynccontextmanager
async def received(request: Request, *, folder: Path, limit: int, room: Room) -> AsyncIterator[Body]:
    """Receive the request's body, which is deleted after the block.

    Raises `TooLarge` as soon as the decompressed body exceeds `limit` bytes, `InvalidInput` for invalid gzip or
    another encoding, `TooMany` when others take the `room` that it needs, and `Unavailable` when the disk is full.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", ""):
        raise errors.InvalidInput(f"content encoding {encoding!r} is not gzip")
    sink = _Sink(folder=folder, limit=limit, in_memory=room.in_memory, gzipped=encoding == "gzip")

    async def take(pieces: list[bytes]) -> None:
        while pieces:
            pieces = await asyncio.to_thread(sink.add, pieces)
            await room.grow_to(sink.size)

    # Not joined: a large body would be copied twice more.
    pending: list[bytes] = []
    size = 0
    try:
        stream = request.stream()
        try:
            async for piece in stream:
                pending.append(piece)
                size += len(piece)
                if size >= BLOCK or len(pending) >= MOST_PIECES:
                    block, pending, size = pending, [], 0
                    await take(block)
            await take(pending)
            body = sink.finish()
        except errors.InvalidInput:
            await _read_on(stream, limit)
            raise
        yield body
    finally:
        # Deleting a large file takes milliseconds.
        await asyncio.to_thread(sink.close)
