"""Running a command's coroutine with the deployment's stores connected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from antenna_orchestration import errors
from antenna_orchestration.cli import output

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from antenna_orchestration.processing.services import Records, Services

S = TypeVar("S")
T = TypeVar("T")


def with_services(work: Callable[[Services], Awaitable[T]]) -> T:
    """Connect, run `work`, disconnect. Raises `InvalidSetting` and `Unavailable`."""
    from antenna_orchestration import settings
    from antenna_orchestration.processing import services

    return _run(services.opened(settings.get(), max_connections=2), work)


def with_records(work: Callable[[Records], Awaitable[T]]) -> T:
    """As `with_services`, for a command that only looks: without the queue, which takes long to import."""
    from antenna_orchestration import settings
    from antenna_orchestration.processing import services

    return _run(services.opened_records(settings.get(), max_connections=2), work)


def _run(opening: AbstractAsyncContextManager[S], work: Callable[[S], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opening as opened:
            return await work(opened)

    try:
        return asyncio.run(run())
    except errors.Unavailable as error:
        raise errors.Unavailable(f"{error}{_hint()}") from error


def with_services_making(project: str, work: Callable[[Services], Awaitable[T]]) -> T:
    """As `with_services`, for work that makes the project if there is none: a note says so, in case of a slip."""

    async def run(services: Services) -> T:
        from antenna_orchestration.answers import known_projects

        is_new = not await known_projects.exists(services, project)
        result = await work(services)
        if is_new:
            note_new(project)
        return result

    return with_services(run)


def note_new(project: str) -> None:
    """Say that a project was made."""
    output.note(f"project {project} is new; `antenna projects list` shows all")


def _hint() -> str:
    """What to do when the servers that cannot be reached are those of a stack that is not running."""
    from antenna_orchestration import settings
    from antenna_orchestration.embedded import stack
    from antenna_orchestration.embedded.home import Home

    home = settings.find_home()
    if not Home(home).env_file.exists() or stack.status(home) is not None:
        return ""
    return f"; no stack runs in {home}: start it with `antenna up`"
