"""Whether there is a project: the question that commands ask before they answer about one, or make one."""

from __future__ import annotations

from antenna_orchestration import errors
from antenna_orchestration.processing.services import Records


async def exists(services: Records, project: str) -> bool:
    """Whether there is a project of that name."""
    return any(one.slug == project for one in await services.catalog.projects.list())


async def require(services: Records, project: str) -> None:
    """Raise `NotFound` if there is no project of that name."""
    if not await exists(services, project):
        raise errors.NotFound(f"there is no project {project}; `antenna projects list` shows all")
