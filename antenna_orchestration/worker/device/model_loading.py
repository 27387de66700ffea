"""Loading the pipelines of jobs before anything of theirs is leased, so that no lease runs while weights download."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from antenna_orchestration.worker.device.client import Device, DeviceLost, PipelineUnavailable
from antenna_orchestration.worker.policy.batch_groups import BatchGroup

logger = logging.getLogger(__name__)

FIRST_REST: Final = 10.0
LONGEST_REST: Final = 600.0
"""Seconds until a pipeline that could not be loaded is tried again; doubled from the first to the longest."""

RESIDENCE: Final = 30.0
"""Seconds that pipelines which do not fit together may at least stay before one makes room for another."""

RESIDENCE_PER_LOAD: Final = 10.0
"""And this many times as long as loading took."""


@dataclass(slots=True)
class _Record:
    not_before: float = 0.0
    rest: float = FIRST_REST
    loaded_before: bool = False


class ModelLoader:
    """Loads one pipeline at a time, in the order in which they were first wanted."""

    def __init__(self, *, device: Device, clock: Callable[[], float], on_loaded: Callable[[], None]) -> None:
        self._device = device
        self._clock = clock
        self._on_loaded = on_loaded
        self._records: dict[BatchGroup, _Record] = {}
        self._wanted: dict[BatchGroup, None] = {}
        self._arrived = asyncio.Event()
        self._residence_until = 0.0
        # Whether one is being loaded.
        self.busy = False
        # Slugs of the pipelines whose last loading failed, each with the reason.
        self.failing: dict[str, str] = {}

    def want(self, lane: BatchGroup) -> None:
        """There is a job of this lane; load its pipeline unless it rests."""
        record = self._records.setdefault(lane, _Record())
        now = self._clock()
        if record.not_before > now or (record.loaded_before and self._residence_until > now):
            return
        self._wanted[lane] = None
        self._arrived.set()

    def unavailable(self, lane: BatchGroup, reason: str) -> None:
        """The pipeline could not be loaded: leave it for a while, longer each time."""
        record = self._records.setdefault(lane, _Record())
        record.not_before = self._clock() + record.rest
        self.failing[lane.slug] = reason
        logger.warning("pipeline %s cannot be loaded here, next try in %.0f s: %s", lane.slug, record.rest, reason)
        record.rest = min(record.rest * 2, LONGEST_REST)

    async def run(self) -> None:
        """Load what is wanted, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._wanted:
                self.busy = True
                lane = next(iter(self._wanted))
                await self._load(lane)
                del self._wanted[lane]
            self.busy = False
            self._on_loaded()

    async def _load(self, lane: BatchGroup) -> None:
        logger.info("loading pipeline %s", lane.slug)
        try:
            seconds = await self._device.load(lane)
        except (PipelineUnavailable, DeviceLost) as error:
            self.unavailable(lane, str(error))
            return
        record = self._records[lane]
        record.loaded_before, record.rest = True, FIRST_REST
        self.failing.pop(lane.slug, None)
        self._residence_until = self._clock() + max(RESIDENCE, RESIDENCE_PER_LOAD * seconds)
        logger.info("pipeline %s loaded in %.1f s", lane.slug, seconds)
        self._on_loaded()
