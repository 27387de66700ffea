"""Receiving the bodies of result posts: decompressed, limited in size, and written to disk beyond one megabyte."""

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

IN_MEMORY: Final = 2**20
"""Largest body, in bytes, that is kept in memory; a larger one is written to a file."""

BLOCK: Final = 2**20
"""Bytes decompressed and written at a time."""

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

    def __init__(self, *, folder: Path, limit: int, gzipped: bool) -> None:
        self._folder = folder
        self._limit = limit
        self._unpacker = zlib.decompressobj(_GZIP) if gzipped else None
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self.path: Path | None = None
        self.size = 0

    def add(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            if self._unpacker is None:
                self._put(piece)
            else:
                self._unpack(self._unpacker, piece)

    def _unpack(self, unpacker: zlib._Decompress, piece: bytes) -> None:
        # In blocks: a few compressed kilobytes may decompress to gigabytes.
        while piece:
            if unpacker.eof:
                # zlib would buffer it in memory without a limit.
                raise errors.InvalidInput("data follows the end of the gzip body")
            try:
                self._put(unpacker.decompress(piece, BLOCK))
            except zlib.error as error:
                raise errors.InvalidInput(f"the body is not gzip: {error}") from None
            piece = unpacker.unconsumed_tail or unpacker.unused_data

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

    def _put(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self._limit:
            raise errors.TooLarge(f"the body is larger than {self._limit} bytes (ANTENNA_GATEWAY_MAX_BODY)")
        if self._file is None and self.size <= IN_MEMORY:
            self._memory += data
            return
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix="post-", dir=self._folder)
            self.path = Path(name)
            self._file = os.fdopen(handle, "wb")
            self._file.write(self._memory)
            self._memory = bytearray()
        self._file.write(data)


async def _read_on(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read and discard the rest of a refused body: a client that is cut off while it sends never sees the answer."""
    dropped = 0
    async for piece in stream:
        dropped += len(piece)
        if dropped > limit:
            return


@asynccontextmanager
async def received(request: Request, *, folder: Path, limit: int) -> AsyncIterator[Body]:
    """Receive the request's body, which is deleted after the block.

    Raises `TooLarge` as soon as the decompressed body exceeds `limit` bytes, and `InvalidInput` for invalid gzip or
    another encoding.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", ""):
        raise errors.InvalidInput(f"content encoding {encoding!r} is not gzip")
    sink = _Sink(folder=folder, limit=limit, gzipped=encoding == "gzip")
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
                    await asyncio.to_thread(sink.add, block)
            await asyncio.to_thread(sink.add, pending)
            body = sink.finish()
        except errors.InvalidInput:
            await _read_on(stream, limit)
            raise
        yield body
    finally:
        # Deleting a large file takes milliseconds.
        await asyncio.to_thread(sink.close)
