"""Routes that hand the report of a job or a project, an HTML file, to its submitters.

The file needs no network and no script, and these answers forbid both, whatever the file holds.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from antenna_orchestration import errors
from antenna_orchestration.gateway import downloads
from antenna_orchestration.gateway.dependencies import JobForViewer, ProjectForViewer, ThisGateway
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.store import Lake

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["results"])

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""Content security policy: the style and the pictures in the file. The file's own policy is stricter still."""

HTML: Final = downloads.of_file("text/html", "page")


@router.get("/jobs/{job_id}/report/", summary="Read a job's report", response_class=StreamingResponse, responses=HTML)
async def read_job_report(request: Request, gateway: ThisGateway, job: JobForViewer) -> StreamingResponse:
    """A page for people about a job: plots, pictures, coverage. Of one that is not over, once somebody wrote it."""
    path = paths.report(job=job.job_id)
    missing = f"job {job.job_id} has no report; `antenna report --job {job.job_id}` writes one"
    return await _page(request, gateway.http.services.lake, path, f"job-{job.job_id}-report.html", missing)


@router.get(
    "/projects/{project_id}/report/",
    summary="Read a project's report",
    response_class=StreamingResponse,
    responses=HTML,
)
async def read_project_report(request: Request, gateway: ThisGateway, project: ProjectForViewer) -> StreamingResponse:
    """A page for people about all jobs of a project that were over when it was written."""
    path = paths.report(project=project.slug)
    missing = f"project {project.slug} has no report; `antenna report --project {project.slug}` writes one"
    return await _page(request, gateway.http.services.lake, path, f"project-{project.slug}-report.html", missing)


async def _page(request: Request, lake: Lake, path: str, name: str, missing: str) -> StreamingResponse:
    """A file of the lake, or a part of it. Raises `NotFound` with what is missing."""
    stack = ExitStack()
    try:
        version = await run_in_threadpool(stack.enter_context, lake.reading_version(path))
    except Missing as error:
        raise errors.NotFound(missing) from error
    return await downloads.of_version(
        request,
        stack,
        version,
        tag=version.tag,
        media_type="text/html; charset=utf-8",
        name=name,
        disposition="inline",
        headers={"Content-Security-Policy": POLICY},
    )
