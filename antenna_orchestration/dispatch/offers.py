"""Offers: the jobs that a worker behind the gateway should lease from, and until when.

A job is offered when it has a task that can be leased now. `turns` says in which order, and when a turn is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from antenna_orchestration.dispatch.lease import has_tasks, raise_if_away
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.dispatch.turns import Turns
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.ids import JobId, JobRun, ProjectId
from antenna_orchestration.queue.announcements import Snapshot

AT_A_TIME: Final = 16
"""Jobs whose tasks are looked for at once."""


class Offers:
    """Knows which jobs are announced, and which workers they may be offered to."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._announced: Snapshot | None = None
        self._turns = Turns(http)
        # Jobs that are no longer announced, whose clocks are still to be forgotten.
        self._gone: set[JobRun] = set()
        self._looked_back = False
        # A job's project never changes.
        self._projects: dict[JobId, ProjectId] = {}
        self._slugs: dict[ProjectId, str] = {}

    def on_announcements(self, announced: Snapshot) -> None:
        """Take note of what is announced now."""
        before = {job.job_run for job in (self._announced or {}).values()}
        self._gone = (self._gone | before) - {job.job_run for job in announced.values()}
        self._announced = announced

    async def for_worker(
        self, worker: Token, *, wanted: Callable[[messages.Announcement], bool], limit: int, poll: str = ""
    ) -> list[messages.Announcement]:
        """Up to `limit` jobs of the worker's projects that are `wanted` and have a leasable task now, in fair order.

        `poll` is a text by which `is_turn_over` can tell later what was wanted; it begins a new turn. Raises
        `Unavailable` when a store does not answer, so that no worker takes a failure for an empty list.
        """
        raise_if_away(self._http)
        candidates = self._candidates(worker, wanted, await self._read())
        found: list[messages.Announcement] = []
        ordered = await self._turns.in_order(worker.holder, candidates)
        for start in range(0, len(ordered), AT_A_TIME):
            some = ordered[start : start + AT_A_TIME]
            deliverable = await asyncio.gather(*(has_tasks(self._http, job.job_run, job.epoch) for job in some))
            found += [job for job, has in zip(some, deliverable, strict=True) if has]
            if len(found) >= limit:
                break
        await self._turns.offered(worker.holder, ordered, found[:limit], poll=poll)
        return found[:limit]

    async def is_turn_over(
        self,
        worker: Token,
        poller: Token,
        job_run: JobRun,
        images: int,
        wanted: Callable[[str], Awaitable[Callable[[messages.Announcement], bool]]],
    ) -> bool:
        """Whether the worker, which asks for so many tasks of the job, should now ask for a job instead.

        `wanted` makes a filter of the text of its last poll, which came from `poller`. Raises `Unavailable`.
        """
        announced = await self._read()
        job = announced.get(job_run)
        if job is None:
            return False

        async def others(poll: str) -> list[messages.Announcement]:
            return self._candidates(poller, await wanted(poll), announced)

        interruptible = not job.interactive and any(one.interactive for one in announced.values())
        return await self._turns.is_over(
            worker.holder, poller.holder, job, images, others, may_be_interrupted=interruptible
        )

    def is_of(self, job: messages.Announcement, project: str | None) -> bool:
        """Whether the job is of the project with this number or slug; True without `project`."""
        mine = self._projects.get(job.job)
        return project is None or (mine is not None and project in (str(mine), self._slugs.get(mine)))

    async def leased(self, worker: Token, poller: Token, job_run: JobRun, images: int) -> None:
        """Take note that the worker, which asked for jobs as `poller`, leased so many tasks of the job."""
        if self._announced and (announced := self._announced.get(job_run)):
            # Nobody asked for a job, and so nobody compared it with others.
            if not self._http.live.turns.is_known(job_run):
                await self._turns.enter(list(self._announced.values()))
            await self._turns.leased(worker.holder, poller.holder, announced, images)

    def _candidates(
        self, worker: Token, wanted: Callable[[messages.Announcement], bool], announced: Snapshot
    ) -> list[messages.Announcement]:
        return [
            job
            for job in announced.values()
            if job.job in self._projects and worker.reaches(self._projects[job.job]) and wanted(job)
        ]

    async def _read(self) -> Snapshot:
        """What is announced, with all projects learned."""
        announced = self._announced if self._announced is not None else await self._http.services.announcements.read()
        if not self._looked_back:
            # Some may have ended while no gateway ran.
            self._looked_back = True
            self._gone |= await self._http.live.turns.jobs() - {job.job_run for job in announced.values()}
        if self._gone:
            gone, self._gone = self._gone, set()
            await self._http.live.turns.forget(gone)
        await self._learn_projects(announced)
        return announced

    async def _learn_projects(self, announced: Snapshot) -> None:
        jobs = {job for job, _ in announced}
        if unknown := jobs - self._projects.keys():
            self._projects |= await self._http.services.catalog.jobs.projects_of(unknown)
        if new := set(self._projects.values()) - self._slugs.keys():
            self._slugs |= {one.project_id: one.slug for one in await self._http.services.catalog.projects.list(new)}
        for gone in self._projects.keys() - jobs:
            del self._projects[gone]
