"""Sizes of databases, for people who look for what takes room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import psycopg

from antenna_orchestration import errors, server_urls
from antenna_orchestration.catalog.database import CONNECT_TIMEOUT, Database, first_line
from antenna_orchestration.domain.ids import JobId


class NamedJob(NamedTuple):
    """What people call a job."""

    project: str
    name: str


class Sizes:
    """How much room the catalog takes, and whose jobs are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_tables(self) -> dict[str, int]:
        """Bytes of the catalog's tables with their indexes, the largest first."""
        return {row["name"]: row["bytes"] for row in await self._database.rows("sizes_of_tables")}

    async def names(self, jobs: Sequence[JobId]) -> Mapping[JobId, NamedJob]:
        """Projects and names of those of the jobs that the catalog has."""
        rows = await self._database.rows("names_of_jobs", jobs=list(jobs))
        return {JobId(row["job_id"]): NamedJob(row["project"], row["name"]) for row in rows}


async def of_database(url: str) -> int:
    """Bytes of a whole database: Dagster's. Raises `Unavailable`."""
    try:
        async with await psycopg.AsyncConnection.connect(
            url.replace("+psycopg2", ""), connect_timeout=CONNECT_TIMEOUT
        ) as connection:
            row = await (await connection.execute("SELECT pg_database_size(current_database())")).fetchone()
            return int(row[0]) if row else 0
    except psycopg.OperationalError as error:
        raise errors.Unavailable(f"PostgreSQL at {server_urls.without_password(url)}: {first_line(error)}") from error
