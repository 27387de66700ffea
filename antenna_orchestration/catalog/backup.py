"""Exports the catalog's rows from one snapshot, in PostgreSQL's COPY format, and loads them in one transaction.

It does not use pg_dump, whose version must fit the server's, and which is often missing where others run the servers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from antenna_orchestration import errors, server_urls
from antenna_orchestration.catalog.database import CONNECT_TIMEOUT, first_line

TABLES: Final = (
    "projects",
    "deployments",
    "clock_shifts",
    "deployment_changes",
    "captures",
    "algorithms",
    "pipelines",
    "pipeline_algorithms",
    "pipeline_digests",
    "digests",
    "jobs",
    "job_generations",
    "job_images",
    "collectors",
    "job_log",
    "processed",
    "tokens",
    "token_projects",
    "workers",
    "project_pipelines",
    "taxa",
    "species_lists",
    "recipes",
    "reviews",
    "pipeline_speeds",
    "sources",
    "source_folders",
    "source_files",
    "source_photographs",
    "source_jobs",
    "capture_sets",
    "capture_set_images",
    "deletions",
)
"""All tables, each one after the tables that it refers to."""

RECORD: Final = ("projects", "captures", "jobs")
"""Tables that are empty in an unused catalog; the others may hold what starting the system registers."""

GAP: Final = 1_000
"""By how much a restore raises job and launch numbers: work begun after the backup has used the next ones, and workers,
the queue or Dagster may still know them."""

_NUMBERED_JOBS: Final = "(SELECT job_id FROM jobs UNION ALL SELECT job_id FROM deletions) AS numbered"
"""The number of a deleted job is never given again."""

_BLOCK: Final = 2**20


class Snapshot:
    """A consistent snapshot of the catalog. Made by `snapshot`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], version: str) -> None:
        self._connection = connection
        # The version of its tables' last migration.
        self.version = version

    async def rows(self, table: str) -> AsyncIterator[bytes]:
        """The rows of a table in COPY's text format, in blocks of about one megabyte."""
        block = bytearray()
        statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
        async with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            async for row in copy:
                block += row
                if len(block) >= _BLOCK:
                    yield bytes(block)
                    block.clear()
        if block:
            yield bytes(block)


@asynccontextmanager
async def snapshot(database_url: str) -> AsyncIterator[Snapshot]:
    """Open a consistent snapshot for the length of the block; others may go on writing. Raises `Unavailable`."""
    async with _connected(database_url) as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield Snapshot(connection, await _version(connection))


async def version_and_use(database_url: str) -> tuple[str, str | None]:
    """The version of the last migration, and what the catalog holds, in words (None when it is empty)."""
    async with _connected(database_url) as connection:
        return await _version(connection), await _use(connection)


async def load(database_url: str, tables: Mapping[str, Callable[[], Iterable[bytes]]]) -> None:
    """Fill an empty catalog of the same version with all tables, or leave it unchanged.

    Raises `Conflict` when it is not empty, `InvalidInput` when the rows do not fit the tables, and `Unavailable`.
    """
    async with _connected(database_url) as connection:
        # Readers are not blocked; a concurrent submission waits, and then gets a number after the restored ones.
        await connection.execute("LOCK TABLE jobs, captures, projects IN SHARE ROW EXCLUSIVE MODE")
        if use := await _use(connection):
            raise errors.Conflict(f"the catalog is not empty ({use}): restore into an empty one")
        try:
            for table in reversed(TABLES):
                await connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            for table in TABLES:
                statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
                async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                    for block in tables[table]():
                        await copy.write(block)
            await connection.execute(sql.SQL("UPDATE jobs SET launch = launch + {}").format(GAP))
            await _continue_numbers(connection)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise errors.InvalidInput(f"the backup's rows do not fit the catalog: {first_line(error)}") from error


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection, with one transaction for the length of the block."""
    try:
        async with await psycopg.AsyncConnection.connect(database_url, connect_timeout=CONNECT_TIMEOUT) as connection:
            yield connection
    except psycopg.OperationalError as error:
        where = server_urls.without_password(database_url)
        raise errors.Unavailable(f"PostgreSQL at {where}: {first_line(error)}") from error


async def _version(connection: psycopg.AsyncConnection[Any]) -> str:
    try:
        row = await (await connection.execute("SELECT version_num FROM alembic_version")).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    if row is None:
        raise errors.Conflict("the catalog has no tables yet; `antenna up` makes them")
    return str(row[0])


async def _use(connection: psycopg.AsyncConnection[Any]) -> str | None:
    found = []
    for table in RECORD:
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        row = await (await connection.execute(query)).fetchone()
        if row and row[0]:
            found.append(f"{row[0]} {table}")
    return ", ".join(found) or None


async def _continue_numbers(connection: psycopg.AsyncConnection[Any]) -> None:
    """Continue each table's identity numbers after the highest one that was loaded."""
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE is_identity = 'YES'"
    columns = await (await connection.execute(query)).fetchall()
    for table, column in columns:
        if table not in TABLES:
            continue
        await connection.execute(
            sql.SQL(
                "SELECT setval(pg_get_serial_sequence({name}, {field}), coalesce(max({column}), 0) + {gap} + 1, false) "
                "FROM {rows}"
            ).format(
                name=sql.Literal(table),
                field=sql.Literal(column),
                column=sql.Identifier(column),
                rows=sql.SQL(_NUMBERED_JOBS) if table == "jobs" else sql.Identifier(table),
                gap=sql.Literal(GAP if table == "jobs" else 0),
            )
        )
