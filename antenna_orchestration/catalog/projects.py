"""Projects and their defaults. The first job or token that names a project creates it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Connection, Database
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.domain.job import DispatchMode


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


async def made(connection: Connection, slug: str) -> ProjectId:
    """The project, made if there is none, and locked as by `found`."""
    await connection.execute(queries.load("ensure_project"), {"slug": slug})
    return await found(connection, slug)


async def found(connection: Connection, slug: str) -> ProjectId:
    """The project, locked until the transaction ends: of two changes of its knowledge one comes after the other.

    Raises `NotFound`.
    """
    row = await (await connection.execute(queries.load("find_project"), {"slug": slug})).fetchone()
    if row is None:
        raise errors.NotFound(f"there is no project {slug}; `antenna projects list` shows all")
    await connection.execute(queries.load("lock_project"), {"project": row["project_id"]})
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
    ) -> None:
        """Change a project's defaults; None leaves a value as it is. Raises `NotFound`."""
        root = None if image_root is None else str(image_root)
        values = {"dispatch_mode": dispatch_mode, "image_root": root, "no_image_root": no_image_root}
        if await self._database.row("set_project", slug=slug, **values) is None:
            raise errors.NotFound(f"there is no project {slug}; `antenna projects list` shows all")
