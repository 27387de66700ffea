"""Routes that hand out what is derived of results: observations, tracks, nights and counts of a job or project.

A file that is being read stays the version that it was, also when the tables are derived again meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.answers.kept_downloads import Kept
from antenna_orchestration.catalog.projects import Project
from antenna_orchestration.contract import models
from antenna_orchestration.ecology import columns
from antenna_orchestration.exports import csv_tables
from antenna_orchestration.gateway import downloads
from antenna_orchestration.gateway.dependencies import JobForViewer, ProjectForViewer, ThisGateway
from antenna_orchestration.gateway.downloads import Asked, AskedByViewer
from antenna_orchestration.gateway.job_downloads import Newest
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.derived import MadeOf, Opened
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.paths import Scope

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["derived tables"])

Table = Literal["observations", "tracks", "nights", "counts", "photographs"]

_JOB: Final = "/jobs/{job_id}/derived/"
_PROJECT: Final = "/projects/{project_id}/derived/"


@router.get(_JOB, summary="List a job's derived tables")
async def list_of_job(request: Request, gateway: ThisGateway, job: JobForViewer) -> models.DerivedList:
    """Where the tables that are derived of a job can be read. 404 before there are any, 409 while they are made.

    Of a job that is not over, or was canceled, they have the results that there were when somebody derived them.
    """
    return await _listed(request, gateway, Scope(job=job.job_id), Newest.of_job(job), f"jobs/{job.job_id}")


@router.get(
    f"{_JOB}{{table}}.csv/",
    summary="Read a derived table of a job as CSV",
    response_class=StreamingResponse,
    responses=downloads.CSV,
)
async def read_csv_of_job(asked: AskedByViewer, job: JobForViewer, table: Table) -> StreamingResponse:
    """Lists are JSON; moments ISO 8601 in UTC, ending in Z; local times without a zone."""
    return await _csv(asked, Scope(job=job.job_id), table, Newest.of_job(job))


@router.get(
    f"{_JOB}{{table}}.parquet/",
    summary="Read a derived table of a job as Parquet",
    response_class=StreamingResponse,
    responses=downloads.PARQUET,
)
async def read_parquet_of_job(
    request: Request, gateway: ThisGateway, job: JobForViewer, table: Table
) -> StreamingResponse:
    """The file. With `Range`, a part of it, and with `If-Range` only if it is the same file still."""
    return await _parquet(request, gateway, Scope(job=job.job_id), table, Newest.of_job(job))


@router.get(_PROJECT, summary="List a project's derived tables")
async def list_of_project(request: Request, gateway: ThisGateway, project: ProjectForViewer) -> models.DerivedList:
    """Where the tables that are derived of all finished jobs of a project can be read."""
    finished = await gateway.http.services.catalog.jobs.final(project=project.slug)
    newest = Newest({one.job_id: one.generation for one in finished})
    return await _listed(request, gateway, _of_project(project), newest, f"projects/{project.project_id}")


@router.get(
    f"{_PROJECT}{{table}}.csv/",
    summary="Read a derived table of a project as CSV",
    response_class=StreamingResponse,
    responses=downloads.CSV,
)
async def read_csv_of_project(asked: AskedByViewer, project: ProjectForViewer, table: Table) -> StreamingResponse:
    """Lists are JSON; moments ISO 8601 in UTC, ending in Z; local times without a zone."""
    return await _csv(asked, _of_project(project), table)


@router.get(
    f"{_PROJECT}{{table}}.parquet/",
    summary="Read a derived table of a project as Parquet",
    response_class=StreamingResponse,
    responses=downloads.PARQUET,
)
async def read_parquet_of_project(
    request: Request, gateway: ThisGateway, project: ProjectForViewer, table: Table
) -> StreamingResponse:
    """The file. With `Range`, a part of it, and with `If-Range` only if it is the same file still."""
    return await _parquet(request, gateway, _of_project(project), table)


def _of_project(project: Project) -> Scope:
    return Scope(project=project.slug)


def _command(scope: Scope) -> str:
    return f"antenna derive --job {scope.job}" if scope.job is not None else f"antenna derive --project {scope.project}"


async def _listed(request: Request, gateway: Gateway, scope: Scope, newest: Newest, path: str) -> models.DerivedList:
    base = gateway.settings.gateway_public_url.rstrip("/") or str(request.base_url).rstrip("/")
    base = f"{base}/api/v2/{path}/derived"
    tables = []
    made_of = MadeOf(recipe="", jobs={}, pending=0)
    for name in columns.SCHEMAS:
        stack, opened = await _opened(gateway, scope, name, newest if scope.job is not None else None)
        await asyncio.to_thread(stack.close)
        made_of = opened.made_of
        tables.append(
            models.DerivedTable(
                name=name,
                csv=f"{base}/{name}.csv",
                parquet=f"{base}/{name}.parquet",
                bytes=opened.version.size,
                recipe=made_of.recipe,
            )
        )
    lacks = [job for job, generation in newest.generations.items() if generation > made_of.jobs.get(job, -1)]
    return models.DerivedList(jobs=sorted(made_of.jobs), lacks=sorted(lacks), pending=made_of.pending, tables=tables)


async def _csv(asked: Asked, scope: Scope, table: str, newest: Newest | None = None) -> StreamingResponse:
    stack, opened = await _opened(asked.gateway, scope, table, newest)
    await run_in_threadpool(stack.close)
    tag = opened.version.tag

    def pieces() -> Iterator[bytes]:
        with derived.opened(asked.gateway.http.services.lake, scope, table) as now:
            if now.version.tag != tag:
                raise errors.Conflict(f"the tables of {scope.name} were derived again meanwhile; ask again")
            yield from csv_tables.lines(now.schema.names, now.batches())

    return await downloads.of_kept(
        asked,
        Kept.of(scope, f"{table}.csv", tag),
        pieces,
        media_type=downloads.CSV_TYPE,
        name=f"{_name(scope)}-{table}.csv",
        pending=opened.made_of.pending,
    )


async def _parquet(
    request: Request, gateway: Gateway, scope: Scope, table: str, newest: Newest | None = None
) -> StreamingResponse:
    stack, opened = await _opened(gateway, scope, table, newest)
    return await downloads.of_version(
        request,
        stack,
        opened.version,
        tag=opened.version.tag,
        media_type=downloads.PARQUET_TYPE,
        name=f"{_name(scope)}-{table}.parquet",
        pending=opened.made_of.pending,
    )


def _name(scope: Scope) -> str:
    return scope.name.replace(" ", "-")


async def _opened(gateway: Gateway, scope: Scope, table: str, newest: Newest | None) -> tuple[ExitStack, Opened]:
    """A table, open until the stack is closed.

    Raises `NotFound` if there is none, and `Conflict` while the tables are written or if it lacks any of the `newest`
    results.
    """
    services = gateway.http.services
    if await services.catalog.jobs.is_deriving(scope.name):
        raise errors.Conflict(f"the tables of {scope.name} are being derived; ask again in a while")

    def enter() -> tuple[ExitStack, Opened]:
        with ExitStack() as stack:
            opened = stack.enter_context(derived.opened(services.lake, scope, table))
            if newest is not None and newest.refuses(opened.made_of):
                raise errors.Conflict(
                    f"the tables of {scope.name} lack its newest results; `{_command(scope)}` makes them again"
                )
            return stack.pop_all(), opened

    try:
        return await run_in_threadpool(enter)
    except Missing:
        raise errors.NotFound(f"{scope.name} has no derived tables yet; `{_command(scope)}` makes them") from None
