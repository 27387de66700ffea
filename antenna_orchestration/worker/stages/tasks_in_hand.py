"""The tasks in this worker's hands, each with the stage it is at.

Kept with the stages rather than with `policy/`: a task in hand is a lease (NATS) and its share of the memory budget,
and both are returned at the moment it leaves. What is decided about leases over time is in `lease_extension`.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts, messages
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.queue.leasing import Lease
from antenna_orchestration.worker.nudge import Nudge
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)


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
    """One task in hand, from its lease to its acknowledgement. Times are seconds by the worker's clock."""

    # Unique within this worker; the device process knows the task by it.
    number: int
    lease: Lease
    job_run: JobRun
    batch_group: BatchGroup
    interactive: bool
    leased_at: float
    moved_at: float
    stage: Stage = Stage.LEASED
    # The compressed image between loading and shipping.
    data: bytes | None = None
    # Bytes of the memory budget that are taken for it.
    charged: int = 0
    # Set while the image is being loaded: gives that up.
    stop_loading: Callable[[], None] | None = None
    # Delivered so often that nothing else of its device process may be at stake while it runs.
    alone: bool = False
    # Its device process died while this task was in it: it runs again with nothing else in there.
    suspect: bool = False
    # No longer in hand: whoever still works on it drops it.
    gone: bool = False
    # Seconds spent in each phase, published with the result: load, wait, decode, infer, finish.
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def unstarted(self) -> bool:
        """Whether the device has not begun with it."""
        return self.stage <= Stage.SHIPPED


class TasksInHand:
    """All tasks in hand. Nudges the scheduler and the batcher when the device begins with one, or one leaves."""

    def __init__(self, *, memory: MemoryBudget, nudge: Nudge, timing: Timing) -> None:
        self._memory = memory
        self._nudge = nudge
        self._clock = timing.clock
        self._numbers = itertools.count()
        self._held: dict[int, TaskInHand] = {}
        # When any of them last moved.
        self.moved_at = self._clock()
        self.handed_back = 0
        # Tasks in hand by batch group: all of them, and those that the device has not begun with.
        self.per_batch_group: Counter[BatchGroup] = Counter()
        self.unstarted: Counter[BatchGroup] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[TaskInHand]:
        return iter(list(self._held.values()))

    def add(self, lease: Lease, announcement: messages.Announcement, batch_group: BatchGroup) -> TaskInHand:
        """Take a fresh lease in hand."""
        held = TaskInHand(
            number=next(self._numbers),
            lease=lease,
            job_run=announcement.job_run,
            batch_group=batch_group,
            interactive=announcement.interactive,
            leased_at=self._clock(),
            moved_at=self._clock(),
            alone=attempts.plan(lease.delivery) is not attempts.Plan.BATCH,
        )
        self._held[held.number] = held
        self.per_batch_group[batch_group] += 1
        self.unstarted[batch_group] += 1
        return held

    def beside(self, held: TaskInHand) -> Iterator[TaskInHand]:
        """All others in hand that go through the same device process."""
        return (one for one in self if one is not held and one.batch_group.process == held.batch_group.process)

    def move(self, held: TaskInHand, stage: Stage) -> None:
        """Note that the task has reached a stage, or makes progress in the one it is at."""
        if held.gone:
            return
        if (stage <= Stage.SHIPPED) is not held.unstarted:
            self.unstarted[held.batch_group] += 1 if held.stage > Stage.SHIPPED else -1
        held.stage = stage
        held.moved_at = self.moved_at = self._clock()
        if stage is Stage.INFERRING:
            held.timings["wait"] = held.moved_at - held.leased_at - held.timings.get("load", 0.0)
            self._nudge.give()

    def all_moved(self) -> None:
        """Count all tasks as moving: they wait for a device process that starts, loads, or was lost and is replaced."""
        self.moved_at = self._clock()
        for held in self._held.values():
            held.moved_at = self.moved_at

    def loaded(self, held: TaskInHand, data: bytes) -> None:
        """The image's bytes are here; the memory budget was charged for them by the loader."""
        held.data, held.charged = data, len(data)
        self.move(held, Stage.LOADED)

    def free(self, held: TaskInHand) -> None:
        """Drop the task's compressed bytes and return their share of the memory budget; idempotent."""
        held.data = None
        if held.charged:
            self._memory.release(held.charged)
            held.charged = 0

    def drop(self, held: TaskInHand) -> None:
        """Let the task go: it was acknowledged, handed back, or its lease is left to end. Idempotent."""
        if held.gone:
            return
        held.gone = True
        if held.stop_loading is not None:
            held.stop_loading()
        self.free(held)
        del self._held[held.number]
        self.per_batch_group[held.batch_group] -= 1
        self.unstarted[held.batch_group] -= held.unstarted
        self.moved_at = self._clock()
        self._nudge.give()

    async def hand_back(self, held: TaskInHand, delay: float = 0.0) -> None:
        """Offer the task to all workers again, after `delay` seconds. A lease that is no longer ours ends by itself."""
        if held.gone:
            return
        self.drop(held)
        try:
            await held.lease.hand_back(delay)
        except errors.Unavailable as error:
            logger.debug("not handed back, its lease will end: %s", error)
        else:
            self.handed_back += held.lease.ended
