"""Delete: a job with all that every store holds of it. The catalog comes first, in one transaction.

From then on the job is gone for everybody, and the row in `deletions` says what is still to be cleared: queue and
Redis, the lake, and the tables of its project. Each step is idempotent, so that the same command again, or the health
check, completes what a crash left. What Dagster holds is cleared by whoever has its instance
(`resources/deleted_jobs.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from antenna_orchestration import errors
from antenna_orchestration.answers import derive
from antenna_orchestration.catalog.deletions import Deletion, Gone
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake import derived, paths, removal
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.merged import MergedTables
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.removal import Held
from antenna_orchestration.processing import clear_queue
from antenna_orchestration.processing.services import Services

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """What would go with a job."""

    rows: Gone
    # Files of the lake by folder.
    folders: Mapping[str, Held]

    @property
    def files(self) -> Held:
        """All files together."""
        held = self.folders.values()
        return Held(sum(one.files for one in held), sum(one.bytes for one in held))


@dataclass(slots=True)
class Swept:
    """A line for each deletion that was completed, and for each that could not be."""

    cleared: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def plan(
    services: Services, job_id: JobId, *, reviews_too: bool = False, along_with: Collection[JobId] = ()
) -> Planned:
    """What would go with a job; the rows are deleted and brought back, so they are counted exactly. Raises as `delete`.

    Those `along_with` it go by the same command. Rows in merged tables are not counted.
    """
    gone = await services.catalog.deletions.plan(job_id, reviews_too=reviews_too, along_with=along_with)
    return Planned(rows=gone, folders=await asyncio.to_thread(removal.held, services.lake, job_id))


async def delete(
    services: Services, job_id: JobId, *, by: str, reviews_too: bool = False, generation: Generation | None = None
) -> None:
    """Delete a job that is over from catalog, queue, Redis and lake; completes a deletion that was not complete.

    With `generation`, only as it was when somebody looked: one that was tried again since is another one.
    The tables of its project are left to `bring_up_to_date`, for all deleted jobs at once. Raises as
    `Deletions.delete`, and `Conflict` while a backup is made or the job's tables are being derived.
    """
    catalog = services.catalog
    async with catalog.deletions.lock(), catalog.jobs.derivation_lock(Scope(job=job_id).name):
        deletion = await catalog.deletions.find(job_id)
        if deletion is None:
            await catalog.deletions.delete(job_id, by=by, reviews_too=reviews_too, generation=generation)
            deletion = await catalog.deletions.find(job_id)
            assert deletion is not None
        elif deletion.cleared_at is not None:
            raise errors.NotFound(deletion.said)
        try:
            await _clear(services, deletion)
        except (errors.Conflict, errors.Unavailable) as error:
            raise type(error)(
                f"job {job_id} is deleted, but not all of it is cleared: {error}; the same command again clears the "
                "rest, and so does the health check"
            ) from error


async def bring_up_to_date(services: Services, jobs: Iterable[JobId]) -> list[str]:
    """Let the tables of the projects of deleted jobs be without them; returns the projects derived anew.

    Only tables that hold one of them are derived anew; where nothing is left to derive from, they go. With this the
    deletions are complete. Raises as `derive`; then the health check tries again.
    """
    of_project: dict[str, list[JobId]] = {}
    for job in jobs:
        if deletion := await services.catalog.deletions.find(job):
            of_project.setdefault(deletion.project, []).append(job)
    again = []
    for project, ours in of_project.items():
        if await _derived_without(services, project, set(ours)):
            again.append(project)
        await services.catalog.deletions.note_cleared(ours)
    return again


async def complete(services: Services, *, dry_run: bool = False) -> Swept:
    """Complete the deletions that a crash left, and clear again what was written late of those of the last day.

    An export or a download that was made of a job when it was deleted may have been written after. Raises
    `Unavailable`.
    """
    swept = Swept()
    known = await services.catalog.deletions.open()
    late = {one.job_id for one in known if one.cleared_at is not None}
    late = await asyncio.to_thread(removal.jobs_with_folders, services.lake, late)
    todo = [one for one in known if one.cleared_at is None or one.job_id in late]
    for one in todo:
        try:
            if not dry_run:
                async with services.catalog.deletions.lock():
                    await _clear(services, one)
                await bring_up_to_date(services, [one.job_id])
            swept.cleared.append(f"job {one.job_id}: its deletion completed")
        except errors.Conflict as error:
            # A backup or a merge is under way: nothing is wrong, and the next round goes on.
            swept.cleared.append(f"job {one.job_id}: its deletion is completed later: {error}")
            break
        except errors.AntennaError as error:
            swept.failed.append(f"job {one.job_id}: its deletion is not complete: {error}")
    return swept


async def _clear(services: Services, deletion: Deletion) -> None:
    """Clear queue, Redis and lake of a job that the catalog has no longer; idempotent."""
    lake, job = services.lake, deletion.job_id
    for job_run in deletion.job_runs:
        await clear_queue.clear_job_run(services, job_run, deletion.pipeline)
    await asyncio.to_thread(removal.remove, lake, job)
    await asyncio.to_thread(removal.write_current, lake)
    # The first merge, too, which has no file yet, may have read the job's rows already.
    async with services.catalog.jobs.merge_lock():
        await asyncio.to_thread(MergedTables(lake).without, job)


async def _derived_without(services: Services, project: str, jobs: set[JobId]) -> bool:
    """Whether the tables of a project held any of these jobs, and were made anew or deleted."""
    scope = Scope(project=project)
    if not await asyncio.to_thread(_holds, services, scope, jobs):
        return False
    try:
        if await services.catalog.jobs.final(project=project):
            await derive.derive(services, project=project)
            return True
    except errors.InvalidInput as error:
        logger.warning("the tables of project %s are deleted, they cannot be derived anew: %s", project, error)
    async with services.catalog.jobs.derivation_lock(scope.name):
        for table in paths.DERIVED_TABLES:
            with suppress(Missing):
                await asyncio.to_thread(services.lake.drop_folder, scope.path(table).rpartition("/")[0])
    return True


def _holds(services: Services, scope: Scope, jobs: set[JobId]) -> bool:
    for table in paths.DERIVED_TABLES:
        made = derived.made_of(services.lake, scope, table)
        if made is not None and jobs.intersection(made.jobs):
            return True
    return False


def told(planned: Sequence[Planned]) -> dict[str, int]:
    """What would go with all of them together, for people and programs."""
    rows = [one.rows for one in planned]
    return {
        "jobs": len(rows),
        "images": sum(one.images for one in rows),
        "unprocessed": sum(one.unprocessed for one in rows),
        "reviews": sum(one.reviews for one in rows),
        "log_lines": sum(one.log_lines for one in rows),
        "files": sum(one.files.files for one in planned),
        "bytes": sum(one.files.bytes for one in planned),
    }
