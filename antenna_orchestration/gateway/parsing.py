"""Parsing result posts outside the event loop: small ones in a thread, large ones in processes of bounded memory.

A parsing process maps a large post from its file and returns the results, reduced; large ones in another file, so no
process ever holds the whole post. A post that would need more memory than a parsing process may use is refused.
"""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import secrets
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
from antenna_orchestration.gateway import reading
from antenna_orchestration.gateway.bodies import Body, MemoryFiles

MOST_READERS: Final = 2
"""Large posts that are parsed at the same time, each by a process of its own; fewer on a machine with fewer cores."""

RENEW_AFTER: Final = 1_000
"""Large posts after which a parsing process is replaced by a new one."""


class Parsing:
    """Parses posts. A parsing process is started when a large one finds none that is idle, and then stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = MemoryFiles()
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """Stop the parsing processes, and delete files that nobody uses."""
        self.memory.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def items(self, body: Body, reduction: Reduction) -> AsyncIterator[Iterable[Item]]:
        """The results in a body, valid within the block.

        Raises `InvalidInput` for a body that is not a post of results, and `TooLarge` for one that cannot be parsed in
        bounded memory.
        """
        if body.path is None:
            yield await asyncio.to_thread(lambda: list(results.read_post(body.data or b"", reduction)))
            return
        target = self.folder / f"read-{secrets.token_hex(8)}"
        try:
            if (kept := await self._read(body.path, body.size, target, reduction)) is not None:
                yield _kept_items(io.BytesIO(kept))
            else:
                with target.open("rb") as file:
                    yield _kept_items(file)
        finally:
            target.unlink(missing_ok=True)

    async def _read(self, source: Path, size: int, target: Path, reduction: Reduction) -> bytes | None:
        """What `reading.read_file` returns."""
        wanted = msgspec.msgpack.encode(reduction)
        loop = asyncio.get_running_loop()
        for _ in range(2):
            pool = self._pool = self._pool or self._new_pool()
            try:
                return await loop.run_in_executor(pool, reading.read_file, str(source), size, str(target), wanted)
            except BrokenProcessPool:
                # Another post or a person ended the process. Clients never repeat a post, so try it again here.
                if self._pool is pool:
                    self._pool = None
        raise errors.Unavailable("the process that reads large posts was ended, twice")

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=min(MOST_READERS, os.cpu_count() or 1),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=reading.confine,
            max_tasks_per_child=RENEW_AFTER,
        )


def _kept_items(file: IO[bytes]) -> Iterator[Item]:
    decoder = msgspec.msgpack.Decoder(Item)
    while head := file.read(reading.LENGTH.size):
        yield decoder.decode(file.read(reading.LENGTH.unpack(head)[0]))
