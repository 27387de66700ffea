"""Follows the announcements: tells the scheduler which jobs there are, and hands back tasks of withdrawn jobs."""

from __future__ import annotations

import asyncio

from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.queue.announcements import Announcements, Snapshot
from antenna_orchestration.worker.pipelines_here import PipelinesHere
from antenna_orchestration.worker.policy.lease_time import LeaseTime
from antenna_orchestration.worker.stages.batcher import Batcher
from antenna_orchestration.worker.stages.lease_extension import LeaseExtender
from antenna_orchestration.worker.stages.scheduler import Scheduler


class AnnouncementFollower:
    """Keeps the worker's view of the announced jobs up to date. `run` and `hand_back_withdrawn` run side by side."""

    def __init__(
        self,
        *,
        announcements: Announcements,
        scheduler: Scheduler,
        batcher: Batcher,
        lease_time: LeaseTime,
        lease_extender: LeaseExtender,
        pipelines: PipelinesHere,
    ) -> None:
        self._pipelines = pipelines
        self._lease_time = lease_time
        self._lease_extender = lease_extender
        self._announcements = announcements
        self._scheduler = scheduler
        self._batcher = batcher
        self._withdrawn: asyncio.Queue[set[JobRun]] = asyncio.Queue()

    async def run(self) -> None:
        """Follow the announcements, for ever."""
        await self._announcements.follow(self._on_change)

    async def hand_back_withdrawn(self) -> None:
        """Hand back the unstarted tasks of jobs that are no longer announced, most likely canceled; runs for ever."""
        while True:
            job_runs = await self._withdrawn.get()
            await self._batcher.hand_back_unstarted(lambda held, job_runs=job_runs: held.job_run in job_runs)  # type: ignore[misc]

    def _on_change(self, announced: Snapshot) -> None:
        # A job may be of a pipeline that was changed or added just now.
        self._pipelines.look_soon()
        # Before the scheduler, which leases by it.
        if self._lease_time.announced(one.ack_wait for one in announced.values()):
            self._lease_extender.hurry()
        if withdrawn := self._scheduler.on_announcements(announced):
            self._withdrawn.put_nowait(withdrawn)
