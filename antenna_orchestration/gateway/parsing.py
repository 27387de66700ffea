"""Reading result posts outside the event loop: small ones on a thread, large ones in a process of bounded memory.

A large post is mapped from its file, and what is kept of it goes to another file, result by result: neither process
ever holds it. A post that would need more memory than the reading process may have is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import mmap
import multiprocessing
import resource
import signal
import struct
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.contract import results
from antenna_orchestration.contract.results import Item, Reduction
from antenna_orchestration.gateway.bodies import Body

MEMORY: Final = 1024 * 2**20
"""Bytes that the reading process may take for itself; the file it reads does not count."""

RENEW_AFTER: Final = 200
"""Posts after which the reading process is replaced by a fresh one."""

_LENGTH: Final = struct.Struct("<I")
_PR_SET_PDEATHSIG: Final = 1


class Parsing:
    """Reads posts. The reading process is started with the first large one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """End the reading process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def items(self, body: Body, reduction: Reduction) -> AsyncIterator[Iterable[Item]]:
        """The results in a body, for the length of the block.

        Raises `InvalidInput` for a body that is no post, `TooLarge` for one that cannot be read in bounded memory.
        """
        if body.path is None:
            yield await asyncio.to_thread(lambda: list(results.read(body.data or b"", reduction)))
            return
        with tempfile.NamedTemporaryFile(prefix="read-", dir=self.folder) as kept:
            await self._read(body.path, Path(kept.name), reduction)
            yield _kept_items(kept)

    async def _read(self, source: Path, target: Path, reduction: Reduction) -> None:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_confine,
                max_tasks_per_child=RENEW_AFTER,
            )
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._pool, _read_file, str(source), str(target), msgspec.msgpack.encode(reduction)
            )
        except BrokenProcessPool as error:
            # Killed for its memory, or by a person. Nothing was taken yet.
            self._pool = None
            raise errors.Unavailable("the process that reads large posts was ended") from error


def _confine() -> None:
    """Die with the gateway, and take no more memory than allowed."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _read_file(source: str, target: str, reduction: bytes) -> None:
    """In the reading process."""
    wanted = msgspec.msgpack.decode(reduction, type=Reduction)
    encoder = msgspec.msgpack.Encoder()
    with Path(source).open("rb") as file, Path(target).open("wb") as kept:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            for item in results.read(mapped, wanted):
                encoded = encoder.encode(item)
                kept.write(_LENGTH.pack(len(encoded)))
                kept.write(encoded)
        except MemoryError:
            raise errors.TooLarge("the post needs more memory than a post may take; split it") from None


def _kept_items(file: IO[bytes]) -> Iterator[Item]:
    decoder = msgspec.msgpack.Decoder(Item)
    while head := file.read(_LENGTH.size):
        yield decoder.decode(file.read(_LENGTH.unpack(head)[0]))
