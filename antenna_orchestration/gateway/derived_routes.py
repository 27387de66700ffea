"""Routes that hand out what is derived of results: observations, tracks, nights and counts of a job or project.

A file that is being read stays the version that it was, also when the tables are derived again meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final, Literal, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.catalog.projects import Project
from antenna_orchestration.contract import models
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.ecology import columns
from antenna_orchestration.exports import csv_tables
from antenna_orchestration.gateway import downloads
from antenna_orchestration.gateway.dependencies import JobForViewer, ProjectForViewer, ThisGateway
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.derived import MadeOf, Opened, Scope
from antenna_orchestration.lake.folder import Missing

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["derived tables"])

Table = Literal["observations", "tracks", "nights", "counts", "photographs"]

_JOB: Final = "/jobs/{job_id}/derived/"
_PROJECT: Final = "/projects/{project_id}/derived/"


@router.get(_JOB, summary="List a job's derived tables")
async def list_of_job(request: Request, gateway: ThisGateway, job: JobForViewer) -> models.DerivedList:
    """Where the tables that are derived of a job can be read. 404 before there are any, 409 while they are made.

    Of a job that is not over, or was canceled, they have the results that there were when somebody derived them.
    """
    return await _listed(request, gateway, Scope(job=job.job_id), _Newest.of_job(job), f"jobs/{job.job_id}")


@router.get(
    f"{_JOB}{{table}}.csv/",
    summary="Read a derived table of a job as CSV",
    response_class=StreamingResponse,
    responses=downloads.CSV,
)
async def read_csv_of_job(gateway: ThisGateway, job: JobForViewer, table: Table) -> StreamingResponse:
    """Lists are JSON; moments ISO 8601 in UTC, ending in Z; local times without a zone."""
    return await _csv(gateway, Scope(job=job.job_id), table, _Newest.of_job(job))


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
    return await _parquet(request, gateway, Scope(job=job.job_id), table, _Newest.of_job(job))


@router.get(_PROJECT, summary="List a project's derived tables")
async def list_of_project(request: Request, gateway: ThisGateway, project: ProjectForViewer) -> models.DerivedList:
    """Where the tables that are derived of all finished jobs of a project can be read."""
    finished = await gateway.http.services.catalog.jobs.final(project=project.slug)
    newest = _Newest({one.job_id: one.generation for one in finished})
    return await _listed(request, gateway, _of_project(project), newest, f"projects/{project.project_id}")


@router.get(
    f"{_PROJECT}{{table}}.csv/",
    summary="Read a derived table of a project as CSV",
    response_class=StreamingResponse,
    responses=downloads.CSV,
)
async def read_csv_of_project(gateway: ThisGateway, project: ProjectForViewer, table: Table) -> StreamingResponse:
    """Lists are JSON; moments ISO 8601 in UTC, ending in Z; local times without a zone."""
    return await _csv(gateway, _of_project(project), table)


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


class _Newest(NamedTuple):
    """The newest results, of which a job's tables must be made."""

    generations: Mapping[JobId, Generation]
    # Whether a table of a part of the results will do: there are no more yet.
    partly: bool = False

    @classmethod
    def of_job(cls, job: Job) -> _Newest:
        return cls({job.job_id: job.generation}, partly=not (job.status.is_terminal and job.compacted))

    def refuses(self, made_of: MadeOf) -> bool:
        """Whether the tables lack results that there are."""
        older = any(one > made_of.jobs.get(job, -1) for job, one in self.generations.items())
        return older or (made_of.pending > 0 and not self.partly)


def _of_project(project: Project) -> Scope:
    return Scope(project=project.slug)


def _command(scope: Scope) -> str:
    return f"antenna derive --job {scope.job}" if scope.job is not None else f"antenna derive --project {scope.project}"


async def _listed(request: Request, gateway: Gateway, scope: Scope, newest: _Newest, path: str) -> models.DerivedList:
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


async def _csv(gateway: Gateway, scope: Scope, table: str, newest: _Newest | None = None) -> StreamingResponse:
    stack, opened = await _opened(gateway, scope, table, newest)
    lines = csv_tables.lines(opened.schema.names, opened.batches())
    return await downloads.streamed(
        downloads.closing(stack, lines),
        media_type=downloads.CSV_TYPE,
        name=f"{_name(scope)}-{table}.csv",
        headers={"ETag": f'"{opened.version.tag}-csv"'},
        when_over=stack.close,
    )


async def _parquet(
    request: Request, gateway: Gateway, scope: Scope, table: str, newest: _Newest | None = None
) -> StreamingResponse:
    stack, opened = await _opened(gateway, scope, table, newest)
    try:
        part = downloads.part_of(request, tag=f'"{opened.version.tag}"', size=opened.version.size)
    except errors.RangeNotSatisfiable:
        stack.close()
        raise
    return await downloads.streamed(
        downloads.closing(stack, part.blocks(opened.version.file)),
        media_type=downloads.PARQUET_TYPE,
        name=f"{_name(scope)}-{table}.parquet",
        status=part.status,
        headers=part.headers,
        when_over=stack.close,
    )


def _name(scope: Scope) -> str:
    return scope.name.replace(" ", "-")


async def _opened(gateway: Gateway, scope: Scope, table: str, newest: _Newest | None) -> tuple[ExitStack, Opened]:
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
