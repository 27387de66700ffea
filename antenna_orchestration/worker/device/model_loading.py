"""Loads the pipelines of announced jobs before any of their tasks is leased: no lease runs while weights download."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from antenna_orchestration.domain import redaction
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.worker.device.client import DeviceLost, PipelineUnavailable
from antenna_orchestration.worker.device.pool import DevicePool
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


CRASHES: Final = 3
"""Images in a row that ended a pipeline's process, each alone in it, from which on the pipeline is the cause."""


@dataclass(slots=True)
class _Record:
    not_before: float = 0.0
    # In a row.
    failures: int = 0
    # Images in a row, without one that was processed.
    crashes: int = 0
    loaded_before: bool = False


class ModelLoader:
    """Loads one pipeline at a time in each device process, in the order in which they were first wanted.

    Nudges the scheduler after each. Pipelines that cannot be loaded, and those whose process dies again and again, are
    left alone for a while, longer each time.
    """

    def __init__(self, *, device: DevicePool, nudge: Nudge, timing: Timing) -> None:
        self._device = device
        self._nudge = nudge
        self._clock = timing.clock
        self._records: dict[BatchGroup, _Record] = {}
        self._wanted: dict[BatchGroup, None] = {}
        self._arrived = asyncio.Event()
        self._residence_until = 0.0
        # Device processes in which one is being loaded.
        self._loading: set[str] = set()
        # Slugs of the pipelines that could not be loaded or that crash, each with the reason.
        self.failing: dict[str, str] = {}

    @property
    def busy(self) -> bool:
        """Whether a pipeline is being loaded."""
        return bool(self._loading)

    def loaded_or_requested(self, batch_group: BatchGroup) -> bool:
        """Whether the device process has the group's pipeline; if not, it is loaded soon unless it is resting."""
        if self._device.has_loaded(batch_group):
            return True
        self._want(batch_group)
        return False

    def failed(self, batch_group: BatchGroup, reason: str, trace: str = "") -> None:
        """The pipeline could not be loaded: leave it alone for a while, longer each time."""
        # Heartbeats carry it.
        reason = redaction.without_secrets(reason)
        record = self._records.setdefault(batch_group, _Record())
        record.failures += 1
        pause = self._rest(batch_group, record.failures, reason)
        logger.warning(
            "pipeline %s cannot be loaded here, next try in %.0f s: %s%s",
            batch_group.slug,
            pause,
            reason,
            f"\n{trace}" if trace else "",
        )

    def crashed(self, batch_group: BatchGroup, reason: str) -> bool:
        """An image alone in the pipeline's process ended it; returns whether the pipeline is left alone for a while."""
        record = self._records.setdefault(batch_group, _Record())
        record.crashes += 1
        if record.crashes < CRASHES:
            return False
        reason = f"its process ended with each of {record.crashes} images in a row, the last time: {reason}"
        pause = self._rest(batch_group, record.crashes - CRASHES + 1, reason)
        logger.warning("pipeline %s rests, next try in %.0f s: %s", batch_group.slug, pause, reason)
        return True

    def worked(self, batch_group: BatchGroup) -> None:
        """The pipeline processed images."""
        record = self._records.get(batch_group)
        if record is not None and record.crashes:
            record.crashes = 0
            self.failing.pop(batch_group.slug, None)

    def _rest(self, batch_group: BatchGroup, failures: int, reason: str) -> float:
        """Leave the pipeline alone; returns for how many seconds."""
        pause = BACKOFF.pause(failures)
        self._records[batch_group].not_before = self._clock() + pause
        self.failing[batch_group.slug] = reason
        return pause

    async def run(self) -> None:
        """Load what is wanted, for ever."""
        async with asyncio.TaskGroup() as loadings:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                for process in {batch_group.process for batch_group in self._wanted} - self._loading:
                    self._loading.add(process)
                    loadings.create_task(self._load_wanted(process), name=f"loading-{process}")

    async def _load_wanted(self, process: str) -> None:
        """Load what is wanted in one device process, one after the other."""
        try:
            while batch_group := next((one for one in self._wanted if one.process == process), None):
                if await self._load(batch_group):
                    del self._wanted[batch_group]
        finally:
            self._loading.discard(process)
            self._nudge.give()

    def _want(self, batch_group: BatchGroup) -> None:
        record = self._records.setdefault(batch_group, _Record())
        now = self._clock()
        stays_out = record.loaded_before and self._residence_until > now and self._device.displaces(batch_group)
        if record.not_before > now or stays_out:
            return
        self._wanted[batch_group] = None
        self._arrived.set()

    async def _load(self, batch_group: BatchGroup) -> bool:
        """Load it; false when it is to be tried at once again, because its process died of something else perhaps."""
        logger.info("loading pipeline %s", batch_group.slug)
        try:
            seconds = await self._device.load(batch_group)
        except PipelineUnavailable as error:
            self.failed(batch_group, str(error), error.trace)
            return True
        except DeviceLost as lost:
            if lost.alone:
                self.failed(batch_group, str(lost))
            return lost.alone
        record = self._records[batch_group]
        record.loaded_before, record.failures = True, 0
        if not record.crashes:
            self.failing.pop(batch_group.slug, None)
        self._residence_until = self._clock() + max(RESIDENCE, RESIDENCE_PER_LOAD * seconds)
        logger.info("pipeline %s loaded in %.1f s", batch_group.slug, seconds)
        self._nudge.give()
        return True
