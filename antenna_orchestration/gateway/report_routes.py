"""Routes that hand the report of a job or a project, an HTML file, to its submitters.

The file needs no network and no script, and these answers forbid both, whatever the file holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.gateway.dependencies import JobForViewer, ProjectForViewer, ThisGateway
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import html_report

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["results"])

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""Content security policy: the style and the pictures in the file. The file's own policy is stricter still."""

BLOCK: Final = 2**18
"""Bytes of a file read and sent at a time."""

HTML: Final = {200: {"content": {"text/html": {}}, "description": "The page."}}


@router.get(
    "/jobs/{job_id}/report/",
    summary="Read a job's report",
    response_class=StreamingResponse,
    responses=HTML,  # type: ignore[arg-type]
)
async def read_job_report(gateway: ThisGateway, job: JobForViewer) -> StreamingResponse:
    """A page for people about a job that is over: plots, pictures, coverage. 409 before."""
    if not job.status.is_terminal:
        raise errors.Conflict(f"job {job.job_id} is {job.status}; its report can be read when it is over")
    path = html_report.path(job=job.job_id)
    missing = f"job {job.job_id} has no report; `antenna report --job {job.job_id}` writes one"
    return await _page(gateway.http.services.lake, path, f"job-{job.job_id}-report.html", missing)


@router.get(
    "/projects/{project_id}/report/",
    summary="Read a project's report",
    response_class=StreamingResponse,
    responses=HTML,  # type: ignore[arg-type]
)
async def read_project_report(gateway: ThisGateway, project: ProjectForViewer) -> StreamingResponse:
    """A page for people about all jobs of a project that were over when it was written."""
    path = html_report.path(project=project.slug)
    missing = f"project {project.slug} has no report; `antenna report --project {project.slug}` writes one"
    return await _page(gateway.http.services.lake, path, f"project-{project.slug}-report.html", missing)


async def _page(lake: Lake, path: str, name: str, missing: str) -> StreamingResponse:
    """Stream a file of the lake. Raises `NotFound` with what is missing."""
    blocks = _blocks(lake, path)
    try:
        first = await run_in_threadpool(next, blocks, b"")
    except Missing as error:
        raise errors.NotFound(missing) from error

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for block in iterate_in_threadpool(blocks):
            yield block

    headers = {"Content-Security-Policy": POLICY, "Content-Disposition": f'inline; filename="{name}"'}
    return StreamingResponse(whole(), headers=headers, media_type="text/html; charset=utf-8")


def _blocks(lake: Lake, path: str) -> Iterator[bytes]:
    with lake.reading(path) as source:
        while block := source.read(BLOCK):
            yield block
