"""Projects and their defaults. The first job or token that names a project creates it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Connection, Database, first_row
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.domain.times import in_utc


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project."""

    project_id: ProjectId
    slug: str
    name: str
    # Folder from which HTTP submitters may take local sources; None: the one named like the project in the image roots.
    image_root: Path | None
    # For jobs that do not say otherwise.
    dispatch_mode: DispatchMode
    # Whether people described it as a data set.
    has_dataset: bool
    # Whether its jobs may have workers fetch pipelines from the lake's store.
    pulls_pipelines: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDataset:
    """What people say of a project as a data set."""

    # As they wrote it: YAML.
    text: str
    created_by: str
    created_at: datetime


async def made(connection: Connection, slug: str) -> ProjectId:
    """The project, made if there is none, and locked as by `found`."""
    await connection.execute(queries.load("ensure_project"), {"slug": slug})
    return await found(connection, slug)


async def found(connection: Connection, slug: str) -> ProjectId:
    """The project, locked until the transaction ends: of two changes of its knowledge one comes after the other.

    Raises `NotFound`.
    """
    project = await known(connection, slug)
    await connection.execute(queries.load("lock_project"), {"project": project})
    return project


async def known(connection: Connection, slug: str) -> ProjectId:
    """The project, which is not locked. Raises `NotFound`."""
    row = await first_row(connection, "find_project", slug=slug)
    if row is None:
        raise errors.NotFound(_unknown(slug))
    return ProjectId(row["project_id"])


class Projects:
    """The projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, projects: Iterable[ProjectId] | None = None) -> Sequence[Project]:
        """The projects with these ids, or all, by slug."""
        wanted = None if projects is None else list(projects)
        return [
            Project(
                project_id=ProjectId(row["project_id"]),
                slug=row["slug"],
                name=row["name"],
                image_root=Path(row["image_root"]) if row["image_root"] else None,
                dispatch_mode=DispatchMode(row["dispatch_mode"]),
                has_dataset=row["has_dataset"],
                pulls_pipelines=row["pulls_pipelines"],
            )
            for row in await self._database.rows("list_projects", projects=wanted)
        ]

    async def update(
        self,
        slug: str,
        *,
        dispatch_mode: DispatchMode | None = None,
        image_root: Path | None = None,
        no_image_root: bool = False,
        pulls_pipelines: bool | None = None,
    ) -> None:
        """Change a project's defaults; None leaves a value as it is. Raises `NotFound`."""
        root = None if image_root is None else str(image_root)
        values = {
            "dispatch_mode": dispatch_mode,
            "image_root": root,
            "no_image_root": no_image_root,
            "pulls_pipelines": pulls_pipelines,
        }
        if await self._database.row("set_project", slug=slug, **values) is None:
            raise errors.NotFound(_unknown(slug))

    async def dataset(self, slug: str) -> StoredDataset | None:
        """The description of a project as a data set; None if there is none. Raises `NotFound`."""
        row = await self._database.row("dataset_of_project", slug=slug)
        if row is None:
            raise errors.NotFound(_unknown(slug))
        if row["dataset"] is None:
            return None
        return StoredDataset(text=row["dataset"], created_by=row["dataset_by"], created_at=in_utc(row["dataset_at"]))

    async def put_dataset(self, slug: str, text: str | None, *, by: str = "") -> None:
        """Keep a description in place of an earlier one; None takes it back. Idempotent. Raises `NotFound`."""
        if await self._database.row("put_dataset", slug=slug, text=text, by=by) is None:
            raise errors.NotFound(_unknown(slug))


def _unknown(slug: str) -> str:
    return f"there is no project {slug}; `antenna projects list` shows all"
