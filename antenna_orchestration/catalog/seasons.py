"""What the seasons of projects hang on: whether anything changed, and how fast workers were."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from antenna_orchestration.catalog.database import Database
from antenna_orchestration.domain.job import TERMINAL
from antenna_orchestration.ecology.season import WorkerNight


class SeasonMark(NamedTuple):
    """A project with finished jobs, or whose jobs were deleted."""

    project: str
    # Jobs that are not over.
    under_way: int
    # Jobs with final results; none where all were deleted.
    finished: int
    # Jobs that are tried again: until they are over, their results are not among the final ones.
    retrying: int
    # Changes when a job of the project ended, is tried again or was deleted, and when people said something new of it.
    mark: str


class Seasons:
    """The seasons of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def marks(self) -> list[SeasonMark]:
        """All projects with finished jobs, and those whose jobs were all deleted."""
        return await self._marks(None)

    async def mark(self, project: str) -> SeasonMark | None:
        """That of a project; None if it has no finished job, and none was deleted."""
        return next(iter(await self._marks(project)), None)

    async def _marks(self, project: str | None) -> list[SeasonMark]:
        terminal = [str(one) for one in TERMINAL]
        rows = await self._database.rows("marks_of_seasons", terminal=terminal, project=project)
        return [SeasonMark(**row) for row in rows]

    async def worker_nights(self, project: str, *, since: datetime) -> list[WorkerNight]:
        """What workers did in the jobs of a project that ended since then."""
        return [WorkerNight(**row) for row in await self._database.rows("worker_nights", project=project, since=since)]
