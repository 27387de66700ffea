"""Merge: copy the tables of finished jobs into files that many jobs share, for queries across thousands of them.

The jobs' own folders are not changed and remain the record; merged files may be deleted and are then made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import FinalJob
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.lake import schemas
from antenna_orchestration.lake.merged import TABLES, MergedFile, MergedTables, file_of
from antenna_orchestration.lake.rows import of_job
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Merged:
    """What one merge found and did."""

    jobs: int = 0
    files: int = 0
    files_written: int = 0
    jobs_written: int = 0


async def merge(services: Services) -> Merged:
    """Bring the merged tables up to date with the jobs that are over.

    Idempotent, and may be killed at any time; if two run at once, the second raises `Conflict`. When a file cannot be
    written the others still are, and `Unavailable` is raised at the end.
    """
    tables = MergedTables(services.lake)
    faults: list[errors.Unavailable] = []
    async with services.catalog.jobs.merge_lock():
        files = planned(await services.catalog.jobs.final())
        merged = Merged(jobs=sum(len(file.jobs) for file in files), files=len(files))
        having = await asyncio.to_thread(_having_further, services.lake)
        for file in files:
            try:
                further = [(name, file.of(jobs)) for name, jobs in having.items()]
                todo = [*((name, own) for name, own in further if own.jobs), *((name, file) for name in TABLES)]
                written = [await asyncio.to_thread(tables.bring_up_to_date, name, own) for name, own in todo]
            except errors.Unavailable as error:
                logger.warning("merging %s: %s", file.name, error)
                faults.append(error)
                continue
            merged.files_written += any(written)
            merged.jobs_written += max(written)
    if merged.files_written:
        # The jobs of an earlier version did not write it.
        await asyncio.to_thread(services.lake.write_current)
    if faults:
        raise errors.Unavailable(f"{len(faults)} of {merged.files} files could not be merged; the first: {faults[0]}")
    return merged


def _having_further(lake: Lake) -> dict[str, set[JobId]]:
    """The jobs that have each of the tables that a job need not have."""
    return {name: set(lake.jobs_with_table(name)) for name in schemas.FURTHER}


def planned(jobs: Iterable[FinalJob]) -> list[MergedFile]:
    """The files that the jobs belong to, in the order of the jobs' ids."""
    files: dict[str, MergedFile] = {}
    for job in jobs:
        name = file_of(job.job_id, job.images)
        file = files.setdefault(name, MergedFile(name))
        file.jobs[job.job_id] = job.generation
        file.of_job[job.job_id] = of_job(job.project, job.name, job.pipeline, job.pipeline_version)
    return list(files.values())
