"""The tasks in this worker's hands, each with the stage it is at, and their leases kept alive while they move."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts, messages
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.queue.leasing import Lease
from antenna_orchestration.worker.policy.batch_groups import BatchGroup

logger = logging.getLogger(__name__)

JobKey = JobRun

LONGEST_WAIT: Final = 3
"""Times `task_timeout` that a task may wait while others move; whatever waits longer was lost sight of."""


class Stage(IntEnum):
    """Where a task is. Up to `SHIPPED` it is unstarted and may be handed back."""

    LEASED = 1
    LOADING = 2
    LOADED = 3
    # In the device process, which has not begun with it.
    SHIPPED = 4
    INFERRING = 5
    REPORTING = 6


@dataclass(slots=True, eq=False)
class TaskInHand:
    """One task in hand."""

    number: int
    lease: Lease
    job: JobKey
    lane: BatchGroup
    interactive: bool
    leased_at: float
    moved_at: float
    stage: Stage = Stage.LEASED
    # The compressed image between loading and shipping.
    data: bytes | None = None
    # Bytes of the memory budget that are taken for it.
    charged: int = 0
    # Delivered so often that nothing else may be at stake while it runs.
    alone: bool = False
    # The device process died while this was in it: nothing else may be in there while it runs.
    suspect: bool = False
    # Let go of: whoever still works on it drops it.
    gone: bool = False
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def unstarted(self) -> bool:
        """Whether the device has not begun with it."""
        return self.stage <= Stage.SHIPPED


class TasksInHand:
    """All tasks in hand."""

    def __init__(self, *, memory: MemoryBudget, task_timeout: float, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._task_timeout = task_timeout
        self._clock = clock
        self._numbers = itertools.count()
        self._held: dict[int, TaskInHand] = {}
        self._moved_at = clock()
        self.handed_back = 0
        # Tasks in hand by lane: all of them, and those that the device has not begun with.
        self.per_lane: Counter[BatchGroup] = Counter()
        self.unstarted: Counter[BatchGroup] = Counter()
        # Told whenever there may be room: the device began with something, or something left.
        self.on_change: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[TaskInHand]:
        return iter(list(self._held.values()))

    def add(self, lease: Lease, announcement: messages.Announcement, lane: BatchGroup) -> TaskInHand:
        """Take a fresh lease in hand."""
        held = TaskInHand(
            number=next(self._numbers),
            lease=lease,
            job=announcement.job_run,
            lane=lane,
            interactive=announcement.interactive,
            leased_at=self._clock(),
            moved_at=self._clock(),
            alone=attempts.plan(lease.delivery) is not attempts.Plan.BATCH,
        )
        self._held[held.number] = held
        self.per_lane[lane] += 1
        self.unstarted[lane] += 1
        return held

    def move(self, held: TaskInHand, stage: Stage) -> None:
        """The task comes to another stage, or is at work in the same."""
        if held.gone:
            return
        if (stage <= Stage.SHIPPED) is not held.unstarted:
            self.unstarted[held.lane] += 1 if held.stage > Stage.SHIPPED else -1
        held.stage = stage
        held.moved_at = self._moved_at = self._clock()
        if stage is Stage.INFERRING:
            held.timings["wait"] = held.moved_at - held.leased_at - held.timings.get("load", 0.0)
            self.on_change()

    def all_moved(self) -> None:
        """The device process starts, loads, or is lost and replaced: nobody is stuck who waits for it."""
        self._moved_at = self._clock()
        for held in self._held.values():
            held.moved_at = self._moved_at

    def loaded(self, held: TaskInHand, data: bytes) -> None:
        """The image's bytes are here; the memory budget was charged for them by the loader."""
        held.data, held.charged = data, len(data)
        self.move(held, Stage.LOADED)

    def free(self, held: TaskInHand) -> None:
        """Its compressed bytes are no longer needed."""
        held.data = None
        if held.charged:
            self._memory.give(held.charged)
            held.charged = 0

    def drop(self, held: TaskInHand) -> None:
        """It is out of our hands: settled, handed back, or left to lapse."""
        if held.gone:
            return
        held.gone = True
        self.free(held)
        del self._held[held.number]
        self.per_lane[held.lane] -= 1
        self.unstarted[held.lane] -= held.unstarted
        self._moved_at = self._clock()
        self.on_change()

    async def hand_back(self, held: TaskInHand, delay: float = 0.0) -> None:
        """Offer the task to everybody again. A lease that is no longer ours is left to the server."""
        if held.gone:
            return
        self.drop(held)
        try:
            await held.lease.hand_back(delay)
        except errors.Unavailable as error:
            logger.debug("not handed back, its lease will end: %s", error)
        else:
            self.handed_back += held.lease.ended

    async def keep_alive(self, every: float, *, device_changes: Callable[[], bool]) -> None:
        """Say in-progress for everything that moves, and let go of what is no longer ours; runs for ever."""
        while True:
            await asyncio.sleep(every)
            now = self._clock()
            if device_changes():
                self.all_moved()
            for held in self:
                if held.lease.is_ours:
                    if self._moves(held, now):
                        await self._extend(held)
                elif held.unstarted and held.stage is not Stage.SHIPPED:
                    # We stood still and somebody else may have it by now; what is inferring is worth finishing.
                    logger.debug("image %d of job %d is no longer ours", held.lease.task.image, held.lease.task.job)
                    self.drop(held)

    async def _extend(self, held: TaskInHand) -> None:
        try:
            await held.lease.extend()
        except errors.Unavailable as error:
            logger.debug("not extended: %s", error)

    def _moves(self, held: TaskInHand, now: float) -> bool:
        age = now - held.moved_at
        waits_for_others = now - self._moved_at < self._task_timeout and age < LONGEST_WAIT * self._task_timeout
        return age < self._task_timeout or waits_for_others
