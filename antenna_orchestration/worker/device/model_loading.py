"""Loads the pipelines of announced jobs before any of their tasks is leased: no lease runs while weights download."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from antenna_orchestration.domain import redaction
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.worker.device.client import Device, DeviceLost, PipelineUnavailable
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

BACKOFF: Final = Backoff(first=10.0, longest=600.0)
"""Seconds until a pipeline that could not be loaded is tried again."""

RESIDENCE: Final = 30.0
"""Seconds that pipelines which do not fit together stay at least before one makes room for another."""

RESIDENCE_PER_LOAD: Final = 10.0
"""And this many times as long as loading took."""


@dataclass(slots=True)
class _Record:
    not_before: float = 0.0
    # In a row.
    failures: int = 0
    loaded_before: bool = False


class ModelLoader:
    """Loads one pipeline at a time, in the order in which they were first wanted; nudges the scheduler after each."""

    def __init__(self, *, device: Device, nudge: Nudge, timing: Timing) -> None:
        self._device = device
        self._nudge = nudge
        self._clock = timing.clock
        self._records: dict[BatchGroup, _Record] = {}
        self._wanted: dict[BatchGroup, None] = {}
        self._arrived = asyncio.Event()
        self._residence_until = 0.0
        # Whether one is being loaded.
        self.busy = False
        # Slugs of the pipelines whose last loading failed, each with the reason.
        self.failing: dict[str, str] = {}

    def loaded_or_requested(self, batch_group: BatchGroup) -> bool:
        """Whether the device process has the group's pipeline; if not, it is loaded soon unless it is resting."""
        if self._device.has_loaded(batch_group):
            return True
        self._want(batch_group)
        return False

    def failed(self, batch_group: BatchGroup, reason: str) -> None:
        """The pipeline could not be loaded: leave it alone for a while, longer each time."""
        # Heartbeats carry it.
        reason = redaction.without_secrets(reason)
        record = self._records.setdefault(batch_group, _Record())
        record.failures += 1
        pause = BACKOFF.pause(record.failures)
        record.not_before = self._clock() + pause
        self.failing[batch_group.slug] = reason
        logger.warning("pipeline %s cannot be loaded here, next try in %.0f s: %s", batch_group.slug, pause, reason)

    async def run(self) -> None:
        """Load what is wanted, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._wanted:
                self.busy = True
                batch_group = next(iter(self._wanted))
                await self._load(batch_group)
                del self._wanted[batch_group]
            self.busy = False
            self._nudge.give()

    def _want(self, batch_group: BatchGroup) -> None:
        record = self._records.setdefault(batch_group, _Record())
        now = self._clock()
        if record.not_before > now or (record.loaded_before and self._residence_until > now):
            return
        self._wanted[batch_group] = None
        self._arrived.set()

    async def _load(self, batch_group: BatchGroup) -> None:
        logger.info("loading pipeline %s", batch_group.slug)
        try:
            seconds = await self._device.load(batch_group)
        except (PipelineUnavailable, DeviceLost) as error:
            self.failed(batch_group, str(error))
            return
        record = self._records[batch_group]
        record.loaded_before, record.failures = True, 0
        self.failing.pop(batch_group.slug, None)
        self._residence_until = self._clock() + max(RESIDENCE, RESIDENCE_PER_LOAD * seconds)
        logger.info("pipeline %s loaded in %.1f s", batch_group.slug, seconds)
        self._nudge.give()
