"""Keeps the leases of the tasks in hand alive while the tasks move, and drops tasks whose leases were lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.worker.device.pool import DevicePool
from antenna_orchestration.worker.policy.lease_time import LeaseTime
from antenna_orchestration.worker.stages.reporter import Reporter
from antenna_orchestration.worker.stages.tasks_in_hand import Stage, TaskInHand, TasksInHand
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

LONGEST_WAIT: Final = 3
"""Times `task_timeout` that a task may wait while others move; one that waits longer was lost sight of."""


class LeaseExtender:
    """Extends leases three times within the time that one lasts, each for as long as its task makes progress.

    None is extended while results cannot be delivered for longer than a lease: whoever can deliver shall have them.
    """

    def __init__(
        self,
        *,
        tasks_in_hand: TasksInHand,
        reporter: Reporter,
        device: DevicePool,
        lease_time: LeaseTime,
        task_timeout: float,
        timing: Timing,
    ) -> None:
        self._tasks_in_hand = tasks_in_hand
        self._reporter = reporter
        self._device = device
        self._lease_time = lease_time
        self._hurried = asyncio.Event()
        self._task_timeout = task_timeout
        self._clock = timing.clock

    def hurry(self) -> None:
        """Extend now, because leases became shorter."""
        self._hurried.set()

    async def run(self) -> None:
        """Extend leases, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_time.seconds / 3):
                    await self._hurried.wait()
            self._hurried.clear()
            now = self._clock()
            if self._device.changes:
                self._tasks_in_hand.all_moved()
            delivers = not self._reporter.failed_for(self._lease_time.seconds)
            for held in self._tasks_in_hand:
                if held.lease.is_ours:
                    if delivers and self._moves(held, now):
                        await self._extend(held)
                elif held.unstarted and held.stage is not Stage.SHIPPED:
                    # This process stood still, and another worker may have the task by now. One that is being inferred
                    # is finished all the same.
                    logger.debug("image %d of job %d is no longer ours", held.lease.task.image, held.lease.task.job)
                    self._tasks_in_hand.drop(held)

    async def _extend(self, held: TaskInHand) -> None:
        try:
            await held.lease.extend()
        except errors.Unavailable as error:
            logger.debug("not extended: %s", error)

    def _moves(self, held: TaskInHand, now: float) -> bool:
        """Whether the task made progress within `task_timeout`, or waits while others do."""
        age = now - held.moved_at
        others_move = now - self._tasks_in_hand.moved_at < self._task_timeout
        return age < self._task_timeout or (others_move and age < LONGEST_WAIT * self._task_timeout)
