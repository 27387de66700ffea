"""The heartbeat of a run: it says that the run's process lives, from the run's start to its end.

It has a thread, an event loop and a connection of its own, so that neither a step that computes nor a store that does
not answer holds it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog import catalog
from antenna_orchestration.processing import loops
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)

BEAT_EVERY: Final = 5.0
"""Seconds between heartbeats."""

_AGAIN_AFTER: Final = 1.0
"""Seconds until the next attempt when the catalog does not answer."""

_PATIENCE: Final = 10.0
"""Seconds that the end of a run waits for a heartbeat that is on its way."""

_beating: Counter[str] = Counter()
_lock = threading.Lock()


@contextmanager
def beating(database_url: str, run_id: str) -> Iterator[None]:
    """Send the run's heartbeat for the length of a block. A block inside another of the same run adds nothing.

    A catalog that does not answer is tried again every second; that is logged, and never raised.
    """
    with _lock:
        _beating[run_id] += 1
        beater = _Beater(database_url, run_id) if _beating[run_id] == 1 else None
    if beater:
        beater.start()
    try:
        yield
    finally:
        with _lock:
            _beating[run_id] -= 1
        if beater:
            beater.stop()


async def forget(services: Services, runs: Collection[str]) -> None:
    """Delete the heartbeats of runs that are over, and of their workers, so that nobody takes them for living ones."""
    await services.catalog.runs.forget(runs)
    for worker in await services.heartbeats.workers():
        if worker.run_id in runs:
            await services.heartbeats.leave(worker.worker)


class _Beater:
    """Sends the heartbeat from its start to its stop."""

    def __init__(self, database_url: str, run_id: str) -> None:
        self._database_url = database_url
        self._run_id = run_id
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat of run {run_id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send no more. The last one stays, for the run is not over before Dagster knows so."""
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._beat())

    async def _beat(self) -> None:
        while not self._stop.is_set():
            try:
                async with catalog.opened(self._database_url, max_connections=1) as connected:
                    while not self._stop.is_set():
                        await connected.runs.beat(self._run_id)
                        await loops.rest(BEAT_EVERY, unless=self._stop)
            except errors.Unavailable as error:
                logger.warning("run %s: no heartbeat: %s", self._run_id, error)
                await loops.rest(_AGAIN_AFTER, unless=self._stop)
