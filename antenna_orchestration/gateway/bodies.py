"""Receiving the bodies of result posts: decompressed, limited in size, and put into files beyond one megabyte.

A file is one in memory, which other processes can open, too, as long as all of these together are small; else it is on
disk.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fastapi import Request

from antenna_orchestration import errors

IN_MEMORY: Final = 2**20
"""Largest body, in bytes, that needs no file."""

MEMORY_FILE: Final = 32 * 2**20
"""Largest body, in bytes, of which the file is in memory."""

MEMORY_FILES: Final = 160 * 2**20
"""Bytes of all bodies together, of one gateway process, of which the files are in memory."""

IDLE: Final = 10.0
"""Seconds until a file in memory that is not used is deleted."""

BLOCK: Final = 2**20
"""Bytes decompressed and written at a time."""

MOST_PIECES: Final = 1_000
"""Pieces as they were received, written at a time: a million of one byte each would take much memory."""

_GZIP: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A complete body, either as bytes (`data`) or in a file (`path`)."""

    size: int
    data: bytes | None
    path: Path | None


@dataclass(kw_only=True, slots=True, eq=False)
class MemoryFile:
    """A file in memory. What an earlier body left beyond the end of the present one is not read."""

    file: IO[bytes]
    path: Path
    # Bytes that are set aside for it.
    size: int = 0
    idle_since: float = 0.0


class MemoryFiles:
    """Files in memory for bodies, of bounded size together. They are used again: fresh memory costs the kernel most.

    Bodies are written by several threads.
    """

    def __init__(self) -> None:
        self._left = MEMORY_FILES
        self._idle: list[MemoryFile] = []
        self._lock = threading.Lock()

    def lend(self) -> MemoryFile | None:
        """A file, to be given back; None where the system has no such files."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        if not hasattr(os, "memfd_create"):
            return None
        handle = os.memfd_create("post")
        # It has no other name; the processes that read it are children of this one.
        return MemoryFile(file=os.fdopen(handle, "w+b"), path=Path(f"/proc/{os.getpid()}/fd/{handle}"))

    def grow(self, lent: MemoryFile, size: int) -> bool:
        """Set so many bytes aside for a file, if they are left."""
        with self._lock:
            more = size - lent.size
            while more > self._left and self._idle:
                self._delete(self._idle.pop(0))
            if more > self._left:
                return False
            if more > 0:
                self._left -= more
                lent.size = size
            return True

    def give_back(self, lent: MemoryFile, *, may_be_read: bool = False) -> None:
        """Give back a file; one that somebody may still read is not used again."""
        with self._lock:
            if may_be_read:
                self._delete(lent)
                return
            lent.file.seek(0)
            lent.idle_since = time.monotonic()
            self._idle.append(lent)

    def delete_idle(self, seconds: float = IDLE) -> None:
        """Delete the files that were not used for so long."""
        with self._lock:
            while self._idle and time.monotonic() - self._idle[0].idle_since >= seconds:
                self._delete(self._idle.pop(0))

    def close(self) -> None:
        """Delete all files that nobody uses."""
        with self._lock:
            while self._idle:
                self._delete(self._idle.pop())

    def _delete(self, file: MemoryFile) -> None:
        file.file.close()
        self._left += file.size


class _Sink:
    """Collects the pieces of a body, decompressed if necessary."""

    def __init__(self, *, folder: Path, memory: MemoryFiles, limit: int, gzipped: bool) -> None:
        self._folder = folder
        self._memory = memory
        self._limit = limit
        self._unpacker = zlib.decompressobj(_GZIP) if gzipped else None
        self._start = bytearray()
        self._lent: MemoryFile | None = None
        self._on_disk: IO[bytes] | None = None
        self._path: Path | None = None
        self.size = 0

    def fits_in_memory(self, more: int) -> bool:
        """Whether so many bytes more go to memory as they are, which takes microseconds."""
        return self._unpacker is None and self._has_room(self.size + more)

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
        if self._on_disk is not None:
            self._on_disk.close()
            return Body(size=self.size, data=None, path=self._path)
        if self._lent is not None and self.size > IN_MEMORY:
            self._lent.file.flush()
            return Body(size=self.size, data=None, path=self._lent.path)
        return Body(size=self.size, data=bytes(self._start), path=None)

    @property
    def is_on_disk(self) -> bool:
        return self._on_disk is not None

    def close(self, *, may_be_read: bool) -> None:
        if self._lent is not None:
            self._memory.give_back(self._lent, may_be_read=may_be_read)
            self._lent = None
        if self._on_disk is not None:
            self._on_disk.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        before = self.size
        self.size += len(data)
        if self.size > self._limit:
            raise errors.TooLarge(f"the body is larger than {self._limit} bytes (ANTENNA_GATEWAY_MAX_BODY)")
        if self._on_disk is None and not self._has_room(self.size):
            self._move_to_disk(before)
        if self.size <= IN_MEMORY:
            self._start += data
            return
        file = self._on_disk if self._lent is None else self._lent.file
        assert file is not None
        file.write(self._start)
        self._start.clear()
        file.write(data)

    def _has_room(self, size: int) -> bool:
        """Whether a body of this size can be in memory, in which memory is set aside for it."""
        if self._on_disk is not None or size > min(MEMORY_FILE, self._limit):
            return False
        if size <= IN_MEMORY:
            return True
        self._lent = self._lent or self._memory.lend()
        return self._lent is not None and self._memory.grow(self._lent, size)

    def _move_to_disk(self, size: int) -> None:
        """Move the `size` bytes so far."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(prefix="post-", dir=self._folder)
        self._on_disk, self._path = os.fdopen(handle, "wb"), Path(name)
        if self._lent is not None:
            self._lent.file.seek(0)
            left = size - len(self._start)
            while left > 0:
                left -= self._on_disk.write(self._lent.file.read(min(BLOCK, left)))
            self._memory.give_back(self._lent)
            self._lent = None


async def _read_on(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read and discard the rest of a refused body: a client that is cut off while it sends never sees the answer."""
    dropped = 0
    async for piece in stream:
        dropped += len(piece)
        if dropped > limit:
            return


@asynccontextmanager
async def received(request: Request, *, folder: Path, memory: MemoryFiles, limit: int) -> AsyncIterator[Body]:
    """Receive the request's body, which is deleted after the block. Its file is in `folder` if `memory` has no room.

    Raises `TooLarge` as soon as the decompressed body exceeds `limit` bytes, and `InvalidInput` for invalid gzip or
    another encoding.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip", ""):
        raise errors.InvalidInput(f"content encoding {encoding!r} is not gzip")
    sink = _Sink(folder=folder, memory=memory, limit=limit, gzipped=encoding == "gzip")
    # Not joined: a large body would be copied twice more.
    pending: list[bytes] = []
    size = 0
    may_be_read = True
    try:
        stream = request.stream()
        try:
            async for piece in stream:
                if not pending and sink.fits_in_memory(len(piece)):
                    sink.add([piece])
                    continue
                pending.append(piece)
                size += len(piece)
                if size >= BLOCK or len(pending) >= MOST_PIECES:
                    block, pending, size = pending, [], 0
                    await asyncio.to_thread(sink.add, block)
            if pending:
                await asyncio.to_thread(sink.add, pending)
            body = sink.finish()
        except errors.InvalidInput:
            await _read_on(stream, limit)
            raise
        yield body
        may_be_read = False
    finally:
        if sink.is_on_disk:
            # Deleting a large file takes milliseconds.
            await asyncio.to_thread(sink.close, may_be_read=may_be_read)
        else:
            sink.close(may_be_read=may_be_read)
            asyncio.get_running_loop().call_later(IDLE, memory.delete_idle)
