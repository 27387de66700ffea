"""The log of each job: lines for people about what happened to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from antenna_orchestration.catalog.database import Database
from antenna_orchestration.domain import redaction, texts
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import LogLine


def line(
    job_id: JobId, action: str, message: str, *, level: str = "INFO", by: str = "", **details: Any
) -> dict[str, Any]:
    """A line as `add_log.sql` takes it, for a transaction that writes more than that."""
    return {
        "job": job_id,
        "level": level,
        "action": action,
        "message": texts.storable(redaction.without_secrets(message)),
        "by": texts.storable(by),
        "details": Jsonb(details),
    }


class JobLog:
    """The logs of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, job_id: JobId, action: str, message: str, *, level: str = "INFO", by: str = "", **details: Any
    ) -> None:
        """Add a line to the job's log; what cannot be stored of its message is written out. Raises `Unavailable`.

        `by` is who did it, if somebody did: a user, a token or a Dagster run.
        """
        await self._database.rows("add_log", **line(job_id, action, message, level=level, by=by, **details))

    async def read(self, job_id: JobId, *, after: int = 0, limit: int = 5_000) -> list[tuple[int, LogLine]]:
        """The next lines of the job's log with their ids, in order, after the line whose id is `after`."""
        rows = await self._database.rows("read_log", job=job_id, after=after, limit=limit)
        return [(row.pop("log_id"), LogLine(**row)) for row in rows]

    async def about(
        self, job_id: JobId, image: ImageId, *, actions: Sequence[str], limit: int = 1_000
    ) -> list[LogLine]:
        """The first lines whose details name the image among `images`, and those of these actions, in order."""
        rows = await self._database.rows("log_of_image", job=job_id, image=image, actions=list(actions), limit=limit)
        return [LogLine(**row) for row in rows]

    async def newest(self, job_id: JobId, limit: int) -> list[LogLine]:
        """The last lines of the job's log, in order."""
        return [LogLine(**row) for row in await self._database.rows("newest_log", job=job_id, limit=limit)]

    async def last(self, job_id: JobId, acts: Sequence[str]) -> LogLine | None:
        """The last line of the job's log that is about one of these acts; None if there is none."""
        row = await self._database.row("last_log", job=job_id, acts=list(acts))
        return None if row is None else LogLine(**row)

    async def done_by_somebody(self, job_id: JobId, limit: int = 20) -> list[LogLine]:
        """The last lines that say who did what they say, in order."""
        return [LogLine(**row) for row in await self._database.rows("log_of_people", job=job_id, limit=limit)]

    async def prune(self, before: datetime, *, dry_run: bool = False) -> int:
        """Delete lines written before a moment, of jobs that are over only. Returns how many; `dry_run` only counts."""
        row = await self._database.row("count_old_log" if dry_run else "prune_log", before=before)
        return int(row["lines"]) if row else 0
