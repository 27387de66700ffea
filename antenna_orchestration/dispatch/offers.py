"""Offers: the jobs that a worker behind the gateway should lease from, in fair order.

A job is offered when it has a task that can be leased now. The order is that of start-time fair queueing: each job has
a clock that advances by the images leased from it, divided by its priority; the job whose clock is furthest behind is
first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from antenna_orchestration.dispatch.lease import has_tasks, raise_if_away
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.ids import JobId, JobRun, ProjectId
from antenna_orchestration.queue.announcements import Snapshot

AT_A_TIME: Final = 16
"""Jobs whose tasks are looked for at once."""

OFFERED: Final = 8.0
"""Images that an offer counts for by itself, so that workers that ask at the same moment get different jobs."""


@dataclass(slots=True)
class FairOrder:
    """The jobs' clocks. Pure; each gateway has its own."""

    _clocks: dict[JobRun, float] = field(default_factory=dict)
    _last_was_interactive: bool = False

    def update(self, jobs: Iterable[messages.Announcement]) -> None:
        """Set all present jobs. A new one starts at the clock that is furthest behind, with neither credit nor debt."""
        keys = [job.job_run for job in jobs]
        start = min((self._clocks[key] for key in keys if key in self._clocks), default=0.0)
        self._clocks = {key: self._clocks.get(key, start) for key in keys}

    def sort(self, jobs: Iterable[messages.Announcement]) -> list[messages.Announcement]:
        """Some of these jobs in the order to serve them: interactive ones first, but at most every other time."""
        ordered = sorted(jobs, key=lambda job: (self._clocks[job.job_run], job.job))
        urgent = [job for job in ordered if job.interactive]
        others = [job for job in ordered if not job.interactive]
        if self._last_was_interactive and others:
            return [others[0], *urgent, *others[1:]]
        return urgent + others

    def given(self, job: messages.Announcement, images: float) -> None:
        """Advance the job's clock by so many images."""
        self._last_was_interactive = job.interactive
        if job.job_run in self._clocks:
            self._clocks[job.job_run] += images / max(job.priority, 1)


class Offers:
    """Knows which jobs are announced, and which workers they may be offered to."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._announced: Snapshot | None = None
        self._order = FairOrder()
        # A job's project never changes.
        self._projects: dict[JobId, ProjectId] = {}
        self._slugs: dict[ProjectId, str] = {}

    def on_announcements(self, announced: Snapshot) -> None:
        """Take note of what is announced now."""
        self._announced = announced

    async def for_worker(
        self, worker: Token, *, wanted: Callable[[messages.Announcement], bool], limit: int
    ) -> list[messages.Announcement]:
        """Up to `limit` jobs of the worker's projects that are `wanted` and have a leasable task now, in fair order.

        Raises `Unavailable` when a store does not answer, so that no worker takes a failure for an empty list.
        """
        raise_if_away(self._http)
        announced = self._announced if self._announced is not None else await self._http.services.announcements.read()
        await self._learn_projects(announced)
        candidates = [
            job
            for job in announced.values()
            if job.job in self._projects and worker.reaches(self._projects[job.job]) and wanted(job)
        ]
        found: list[messages.Announcement] = []
        self._order.update(announced.values())
        ordered = self._order.sort(candidates)
        for start in range(0, len(ordered), AT_A_TIME):
            some = ordered[start : start + AT_A_TIME]
            deliverable = await asyncio.gather(*(has_tasks(self._http, job.job_run, job.epoch) for job in some))
            found += [job for job, has in zip(some, deliverable, strict=True) if has]
            if len(found) >= limit:
                break
        if found[:limit]:
            self._order.given(found[0], OFFERED)
        return found[:limit]

    def is_of(self, job: messages.Announcement, project: str | None) -> bool:
        """Whether the job is of the project with this number or slug; True without `project`."""
        mine = self._projects.get(job.job)
        return project is None or (mine is not None and project in (str(mine), self._slugs.get(mine)))

    def given(self, job_run: JobRun, images: int) -> None:
        """Take note that a worker leased so many tasks of the job."""
        if self._announced and (announced := self._announced.get(job_run)):
            self._order.given(announced, images)

    async def _learn_projects(self, announced: Snapshot) -> None:
        jobs = {job for job, _ in announced}
        if unknown := jobs - self._projects.keys():
            self._projects |= await self._http.services.catalog.jobs.projects_of(unknown)
        if new := set(self._projects.values()) - self._slugs.keys():
            self._slugs |= {one.project_id: one.slug for one in await self._http.services.catalog.projects.list(new)}
        for gone in self._projects.keys() - jobs:
            del self._projects[gone]
