"""Parsing result posts outside the event loop: small ones in a thread, large ones in processes of bounded memory.

A parsing process maps a large post from its file and writes each result, reduced, to another file, so no process
ever holds the whole post. A post that would need more memory than a parsing process may use is refused.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
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
from antenna_orchestration.gateway import reading
from antenna_orchestration.gateway.bodies import Body

MOST_READERS: Final = 2
"""Large posts that are parsed at the same time, each by a process of its own; fewer on a machine with fewer cores."""

RENEW_AFTER: Final = 1_000
"""Large posts after which the parsing processes are replaced by new ones."""


class Parsing:
    """Parses posts. A parsing process is started when a large one finds none that is idle, and then stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool: ProcessPoolExecutor | None = None
        self._taken = 0

    def close(self) -> None:
        """Stop the parsing processes."""
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
        with tempfile.NamedTemporaryFile(prefix="read-", dir=self.folder) as kept:
            await self._read(body.path, Path(kept.name), reduction)
            yield _kept_items(kept)

    async def _read(self, source: Path, target: Path, reduction: Reduction) -> None:
        for is_last in (False, True):
            pool = self._take_pool()
            try:
                await asyncio.get_running_loop().run_in_executor(
                    pool, reading.read_file, str(source), str(target), msgspec.msgpack.encode(reduction)
                )
            except BrokenProcessPool as error:
                # Another post or a person ended the process. Clients never repeat a post, so try it again here.
                if self._pool is pool:
                    self._pool = None
                if is_last:
                    raise errors.Unavailable("the process that reads large posts was ended, twice") from error
            else:
                return

    def _take_pool(self) -> ProcessPoolExecutor:
        # Not by the pool's own `max_tasks_per_child`: with posts that wait for a process, it may replace none, so that
        # they wait for ever (Python 3.11 to 3.15, gh-115634).
        if self._pool is not None and self._taken >= RENEW_AFTER:
            # What it was given it still reads.
            self._pool.shutdown(wait=False)
            self._pool = None
        if self._pool is None:
            self._pool, self._taken = self._new_pool(), 0
        self._taken += 1
        return self._pool

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=min(MOST_READERS, os.cpu_count() or 1),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=reading.confine,
        )


def _kept_items(file: IO[bytes]) -> Iterator[Item]:
    decoder = msgspec.msgpack.Decoder(Item)
    while head := file.read(reading.LENGTH.size):
        yield decoder.decode(file.read(reading.LENGTH.unpack(head)[0]))
