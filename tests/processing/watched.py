"""Watched folders for tests: a source that looks whenever it is asked to, and what became of its photographs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from antenna_orchestration.catalog.sources import SourceState
from antenna_orchestration.processing import new_captures, watched_sources
from antenna_orchestration.processing.new_captures import Round
from antenna_orchestration.processing.services import Services


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A source in a project of its own."""

    services: Services
    project: str
    number: int

    async def look(self) -> Round:
        """One round, with this source due."""
        await self.services.catalog.sources.resume(self.number)
        done = await new_captures.round_(self.services)
        assert done is not None
        return done

    async def state(self) -> SourceState:
        return await watched_sources.show_source(self.services, self.number)

    async def jobs(self) -> list[str]:
        """The names of its jobs, oldest first, with their images."""
        jobs = await self.services.catalog.jobs.list(project=self.project)
        return [f"{job.name}: {job.total}" for job in reversed(jobs)]

    def later(self, seconds: float) -> None:
        """As if so much time had passed for what is known of its files and folders."""
        with psycopg.connect(self.services.settings.database_url) as connection:
            for table, column in (
                ("source_files", "seen_at"),
                ("source_files", "read_at"),
                ("source_folders", "listed_at"),
            ):
                connection.execute(
                    f"UPDATE {table} SET {column} = {column} - %s * interval '1 s' WHERE source_id = %s",
                    [seconds, self.number],
                )


async def watch(services: Services, project: str, uri: str | Path, **options: Any) -> Watched:
    """Begin to watch; a file is at rest at once unless `settle` says otherwise."""
    values = {"deployment": "pond", "pipeline": "null", "settle": "0", **options}
    number = await watched_sources.add_source(services, project=project, uri=str(uri), **values)
    return Watched(services=services, project=project, number=number)


def photograph(path: Path, content: str, *, changed: float = 1_700_000_000) -> Path:
    """A file with its own bytes and time of change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (changed, changed))
    return path
