"""Deletions: jobs that people deleted. The rows go in one transaction, which also notes what is still to be cleared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Connection, Database, Row, first_row, one_row, value
from antenna_orchestration.domain.ids import Generation, JobId, JobRun, PipelineSlug
from antenna_orchestration.domain.job import TERMINAL, JobStatus
from antenna_orchestration.domain.texts import counted

HEARD: Final = 30.0
"""Seconds since its last heartbeat for which a run counts as under way; it beats every five."""

MOST: Final = 100_000
"""Deletions that are looked at in one round, at most."""

_KEY: Final = "deletion"
"""Of the lock that keeps deletions from each other and from backups."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deletion:
    """A job that was deleted."""

    job_id: JobId
    project: str
    name: str
    pipeline: PipelineSlug
    generation: Generation
    total: int
    deleted_by: str
    deleted_at: datetime
    cleared_at: datetime | None
    dagster_cleared_at: datetime | None

    @property
    def job_runs(self) -> list[JobRun]:
        """The job in each of its generations."""
        return [JobRun(self.job_id, Generation(number)) for number in range(1, self.generation + 1)]

    @property
    def said(self) -> str:
        """For people."""
        by = f" by {self.deleted_by}" if self.deleted_by else ""
        return f"job {self.job_id} was deleted on {self.deleted_at:%Y-%m-%d %H:%M} UTC{by}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """The rows that went, or would go, with a job."""

    job_id: JobId
    project: str
    name: str
    status: str
    generation: Generation
    images: int
    log_lines: int
    reviews: int
    # Images that count as not processed from then on.
    unprocessed: int


class Deletions:
    """The jobs that were deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Be the only one that deletes, with no backup under way. Waits two minutes; then raises `Conflict`."""
        refusal = "a backup is being made, or other jobs are being deleted: delete again when that is over"
        async with self._database.lock(_KEY, "waiting for a backup, or for another process that deletes", refusal):
            yield

    @asynccontextmanager
    async def none(self) -> AsyncIterator[None]:
        """Let nobody delete meanwhile, as a backup needs it; several may. As `lock`."""
        refusal = "jobs are being deleted: take the backup when that is over"
        async with self._database.lock(_KEY, "waiting for a process that deletes jobs", refusal, shared=True):
            yield

    async def find(self, job_id: JobId) -> Deletion | None:
        """The deletion of a job, or None."""
        row = await self._database.row("find_deletion", job=job_id)
        return _deletion(row) if row else None

    async def delete(
        self, job_id: JobId, *, by: str, reviews_too: bool = False, generation: Generation | None = None
    ) -> Gone:
        """Delete all rows of a job that is over, in one transaction.

        Raises `NotFound`; `Conflict` for a job that is not over, that was tried again since this `generation`, whose
        run still writes, whose boxes other jobs classify, or with reviews unless `reviews_too`; and `Unavailable`.
        """
        async with self._database.transaction() as connection:
            found = await _to_delete(connection, job_id, reviews_too=reviews_too)
            if generation is not None and found["generation"] != generation:
                raise errors.Conflict(f"job {job_id} was tried again since it was chosen: look at it, and delete again")
            return await _delete(connection, found, by=by)

    async def check(self, job_id: JobId, *, reviews_too: bool = False, along_with: Collection[JobId] = ()) -> None:
        """Raise what `delete` raises, were those `along_with` it deleted before."""
        async with self._database.transaction() as connection:
            await _to_delete(connection, job_id, reviews_too=reviews_too, along_with=along_with)

    async def plan(self, job_id: JobId, *, reviews_too: bool = False, along_with: Collection[JobId] = ()) -> Gone:
        """What would go if this job and those `along_with` it were deleted: it is deleted, and that undone.

        Raises as `check`.
        """
        async with self._database.transaction() as connection:
            found = await _to_delete(connection, job_id, reviews_too=reviews_too, along_with=along_with)
            gone = await _delete(connection, found, by="", along_with=along_with)
            await connection.rollback()
        return gone

    async def open(self, *, dagster: bool = False) -> Sequence[Deletion]:
        """Those of which other stores may hold something, and all of the last day; `dagster` counts Dagster, too."""
        return [_deletion(row) for row in await self._database.rows("open_deletions", dagster=dagster, limit=MOST)]

    async def note_cleared(self, jobs: Iterable[JobId]) -> None:
        """Queue, Redis, lake and the project's tables hold nothing of these jobs."""
        await self._database.rows("note_cleared", jobs=list(jobs))

    async def note_dagster_cleared(self, jobs: Iterable[JobId]) -> None:
        """Dagster holds nothing of these jobs."""
        await self._database.rows("note_dagster_cleared", jobs=list(jobs))

    async def older_than(
        self, seconds: float, *, statuses: Iterable[JobStatus] | None = None, project: str | None = None, limit: int
    ) -> list[JobId]:
        """Jobs that have been over for so long, the oldest first."""
        wanted = [str(one) for one in (TERMINAL if statuses is None else statuses)]
        rows = await self._database.rows(
            "jobs_older_than", seconds=seconds, statuses=wanted, project=project, limit=limit
        )
        return [JobId(row["job_id"]) for row in rows]


async def _to_delete(
    connection: Connection, job_id: JobId, *, reviews_too: bool, along_with: Collection[JobId] = ()
) -> Row:
    """The job, locked to the end of the transaction."""
    # Whoever adds reviews of the job waits, and finds none; before the job's row, as they do.
    await connection.execute(queries.load("lock_reviews"), {"jobs": [job_id]})
    found = await first_row(connection, "job_to_delete", job=job_id, heard=HEARD)
    if found is None:
        raise errors.NotFound(f"there is no job {job_id}; `antenna jobs list` shows all")
    _check(found, along_with)
    reviews = await value(connection, "count_reviews_of_job", job=job_id)
    if reviews and not reviews_too:
        raise errors.Conflict(
            f"job {job_id} has {counted(reviews, 'review')} by people, which would go: keep them with `antenna reviews "
            f"list --job {job_id} --json`, or delete them, too, with --reviews-too"
        )
    return found


async def _delete(connection: Connection, found: Row, *, by: str, along_with: Collection[JobId] = ()) -> Gone:
    job_id = found["job_id"]
    of_job = {"job": job_id, "project": found["project_id"], "along_with": list(along_with)}
    await connection.execute(queries.load("hand_on_processed"), of_job)
    unprocessed = await value(connection, "delete_processed", job=job_id)
    rows = await one_row(connection, "delete_job", job=job_id, by=by)
    return Gone(
        job_id=job_id,
        project=found["project"],
        name=found["name"],
        status=found["status"],
        generation=found["generation"],
        unprocessed=unprocessed,
        **rows,
    )


def _check(found: Row, along_with: Collection[JobId]) -> None:
    job = found["job_id"]
    if JobStatus(found["status"]) not in TERMINAL:
        raise errors.Conflict(f"job {job} is {found['status']}: cancel it first (`antenna jobs cancel {job}`)")
    if found["is_heard"]:
        raise errors.Conflict(f"job {job} is {found['status']}, but its run is not over yet: delete it in a minute")
    if others := [str(one) for one in found["built_on"] if one not in along_with]:
        which = f"job{'s' if len(others) > 1 else ''} {', '.join(others[:5])}{' and more' if len(others) > 5 else ''}"
        raise errors.Conflict(f"job {job} cannot go before {which}, which classified its boxes: name these, too")


def _deletion(row: Row) -> Deletion:
    return Deletion(**{name: row[name] for name in Deletion.__slots__})
