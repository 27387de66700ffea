"""Figures for those who watch an installation: counts that cost as much as is under way, not as there ever was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from antenna_orchestration.catalog.database import Database, Row
from antenna_orchestration.domain.ids import Generation, JobId, JobRun, ProjectId

MOST_ROWS: Final = 5_000
"""Of one kind of figures: people make projects and pipelines, and a watcher keeps each for months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorTick:
    """The last tick of a sensor."""

    sensor: str
    # When it began, in seconds since the epoch.
    at: float
    seconds: float
    is_failed: bool


class Figures:
    """Reads counts, and keeps the last ticks of Dagster's sensors."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def active_jobs(self, projects: Iterable[ProjectId] | None) -> Sequence[Row]:
        """Jobs that are not over and their images, by project, pipeline and status; of these projects, or of all."""
        return await self._database.rows("count_active_jobs", projects=_listed(projects), limit=MOST_ROWS)

    async def jobs_of_a_day(self, projects: Iterable[ProjectId] | None) -> Sequence[Row]:
        """Jobs that ended in the last 24 hours and their images, by project and status."""
        return await self._database.rows("count_jobs_of_a_day", projects=_listed(projects), limit=MOST_ROWS)

    async def collected(self, limit: int) -> Sequence[JobRun]:
        """Jobs whose collector is at work."""
        rows = await self._database.rows("collected_jobs", limit=limit)
        return [JobRun(JobId(row["job_id"]), Generation(row["generation"])) for row in rows]

    async def put_ticks(self, ticks: Iterable[SensorTick]) -> None:
        """Keep the last tick of each of these sensors, unless a newer one is known, and of no others."""
        given = list(ticks)
        await self._database.rows(
            "put_sensor_ticks",
            sensors=[one.sensor for one in given],
            at=[one.at for one in given],
            seconds=[one.seconds for one in given],
            failed=[one.is_failed for one in given],
        )

    async def ticks(self) -> Sequence[Row]:
        """The sensors, each with how long ago it ticked last, and how long that took."""
        return await self._database.rows("sensor_ticks")


def _listed(projects: Iterable[ProjectId] | None) -> list[int] | None:
    return None if projects is None else list(projects)
