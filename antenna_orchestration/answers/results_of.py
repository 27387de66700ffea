"""The results that tables are derived of: those of finished jobs, or what a job has so far."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.answers import known_projects
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.lake.derived import Source
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import finish
from antenna_orchestration.processing.services import Services

_TRIES: Final = 3
"""How often the rows so far are read: parts go when their job ends, and there are final tables then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """Results of jobs of one project, as final tables in a lake."""

    project: str
    sources: Sequence[Source]
    lake: Lake
    # Images of a job that have none yet.
    pending: int = 0

    @property
    def job_ids(self) -> list[JobId]:
        """The jobs."""
        return [one.job_id for one in self.sources]

    @property
    def warnings(self) -> list[str]:
        """What is to be said of them, a line each."""
        if not self.pending:
            return []
        lacking = counted(self.pending, "image of it has", "images of it have")
        return [f"job {self.job_ids[0]} is not complete: {lacking} no result yet"]


@asynccontextmanager
async def results_of(services: Services, scope: Scope) -> AsyncIterator[Results]:
    """The results of a project's finished jobs or of a job; of one that is not over in a temporary lake.

    Raises `NotFound`, `Conflict` if there are none, and `Unavailable`.
    """
    if scope.job is None:
        yield await _of_project(services, scope.project or "")
        return
    with tempfile.TemporaryDirectory(prefix="antenna-so-far-") as folder:
        yield await _of_job(services, scope.job, Lake(folder))


async def of_several(services: Services, jobs: Sequence[JobId]) -> Results:
    """The results of finished jobs of one project. Raises `NotFound`, `Conflict`, `InvalidInput`."""
    found = [await services.catalog.jobs.get(job) for job in dict.fromkeys(jobs)]
    projects = sorted({job.project for job in found})
    if len(projects) > 1:
        raise errors.InvalidInput(f"the jobs are of several projects ({', '.join(projects)}): take one at a time")
    complete = await services.catalog.jobs.compacted(jobs)
    for job in found:
        if job.job_id not in complete:
            raise errors.Conflict(f"job {job.job_id} is {job.status} and not complete: take it alone, or leave it out")
    return Results(project=projects[0], sources=[_source(job, job.total) for job in found], lake=services.lake)


async def _of_project(services: Services, project: str) -> Results:
    await known_projects.require(services, project)
    jobs = await services.catalog.jobs.final(project=project)
    if not jobs:
        raise errors.Conflict(f"project {project} has no finished job to derive tables from")
    sources = [Source(one.job_id, one.generation, one.pipeline, one.images) for one in jobs]
    return Results(project=project, sources=sources, lake=services.lake)


async def _of_job(services: Services, job_id: JobId, empty: Lake) -> Results:
    why = ""
    for _ in range(_TRIES):
        job = await services.catalog.jobs.get(job_id)
        if await services.catalog.jobs.compacted([job_id]):
            return Results(project=job.project, sources=[_source(job, job.total)], lake=services.lake)
        try:
            pending = await finish.write_rows_so_far(services, job, empty)
        except finish.PartLost as lost:
            why = f"part {lost.part} of job {job_id} cannot be read"
            continue
        after = await services.catalog.jobs.get(job_id)
        if (after.generation, after.compacted) != (job.generation, job.compacted):
            # What was read may be half of the one and half of the other.
            why = f"job {job_id} began or ended while it was read"
            continue
        if pending >= job.total:
            hint = f"; `antenna jobs retry {job_id}` goes on with it" if job.status is JobStatus.CANCELED else ""
            raise errors.Conflict(f"job {job_id} is {job.status} and has no results yet{hint}")
        return Results(project=job.project, sources=[_source(job, job.total - pending)], lake=empty, pending=pending)
    raise errors.Conflict(f"{why}: ask again in a while")


def _source(job: Job, images: int) -> Source:
    return Source(job.job_id, job.generation, job.pipeline, images)
