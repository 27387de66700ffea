"""`antenna usage`: what takes how much room."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_records
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.processing.services import Records
    from antenna_orchestration.upkeep.usage import LakeUsage


class By(StrEnum):
    """What is listed."""

    TABLE = "table"
    PROJECT = "project"
    JOB = "job"


class Row(NamedTuple):
    """Something that takes room."""

    # Such as lake or catalog.
    where: str
    what: str
    bytes: int


def usage(
    *,
    by: Annotated[By, typer.Option(help="List tables, projects or jobs.")] = By.TABLE,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Only what the lake holds of this project.", show_default="all")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many, the largest first.")] = 20,
    json_: JsonOption = False,
) -> None:
    """Show what takes how much room.

    That is the lake, databases, queue, logs and weights. Projects and jobs are shown with what the lake holds of them;
    databases are not divided among them.
    """

    async def read(records: Records) -> list[Row]:
        from antenna_orchestration.answers import known_projects
        from antenna_orchestration.upkeep import usage as verb

        if project is not None:
            await known_projects.require(records, project)
        lake = await verb.of_lake(records, project=project)
        if by is By.PROJECT:
            return [Row("lake", one or "shared by projects", bytes_) for one, bytes_ in lake.projects.items()]
        if by is By.JOB:
            return _jobs(lake)
        rows = [Row("lake", table, bytes_) for table, bytes_ in lake.tables.items()]
        return rows if project is not None else [*rows, *_beside(records, await verb.of_databases(records))]

    rows = sorted(with_records(read), key=lambda row: (-row.bytes, row.where, row.what))
    total = sum(row.bytes for row in rows)
    if json_:
        shown = [row._asdict() for row in rows[:limit]]
        output.as_json({"bytes": total, "rows": shown, "more": max(0, len(rows) - limit)})
        return
    _show(rows, limit, total)


def _jobs(lake: LakeUsage) -> list[Row]:
    names = lake.names
    return [
        Row("lake", f"job {job}" + (f", {names[job].project}: {names[job].name}" if job in names else ""), bytes_)
        for job, bytes_ in lake.jobs.items()
    ]


def _beside(records: Records, databases: dict[str, int]) -> list[Row]:
    """What is not in the lake: databases as their server says, and folders of this machine."""
    from antenna_orchestration.embedded import deleting
    from antenna_orchestration.embedded.home import Home
    from antenna_orchestration.pipelines.weights import DEFAULT_FOLDER
    from antenna_orchestration.upkeep.usage import DAGSTER

    rows = [
        Row("PostgreSQL" if name == DAGSTER else "catalog", name, bytes_)
        for name, bytes_ in databases.items()
        if bytes_
    ]
    home = Home(records.settings.home)
    parts = deleting.plan(home).parts if home.path.exists() else ()
    for part in parts:
        # The lake was listed, and of PostgreSQL's folder the rest is its log and spare room.
        rest = part.bytes - sum(databases.values()) if part.path.name == "postgres" else part.bytes
        if part.path.name != "lake" and rest > 0:
            rows.append(Row("home", "PostgreSQL's own files" if part.path.name == "postgres" else part.path.name, rest))
    weights = (records.settings.weights_dir or DEFAULT_FOLDER).expanduser()
    if size := deleting.size_of(weights):
        rows.append(Row("weights", str(weights), size))
    return rows


def _show(rows: Sequence[Row], limit: int, total: int) -> None:
    shown = [(output.size(row.bytes), row.where, row.what) for row in rows[:limit]]
    if rest := rows[limit:]:
        shown.append((output.size(sum(row.bytes for row in rest)), "", f"{len(rest):,} more"))
    output.show_table(("SIZE", "WHERE", "WHAT"), shown, numbers=("SIZE",), shrinks=("WHAT",), empty="nothing yet")
    output.note(f"{output.size(total)} in {counted(len(rows), 'line')}")
