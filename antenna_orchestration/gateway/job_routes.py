"""Routes that submit, show and control jobs. Each calls the same verb as the command line."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.catalog.projects import Project
from antenna_orchestration.contract import models
from antenna_orchestration.domain.access import MOST_INTERACTIVE, Token
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import ACTIVE
from antenna_orchestration.gateway.dependencies import (
    JobForSubmitter,
    JobForViewer,
    SubmitterCaller,
    ThisGateway,
    job_of,
)
from antenna_orchestration.gateway.job_views import job_view
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import cancel, retry, submit

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["jobs"])

LOOK_WITHIN: Final = 120.0
"""Seconds that looking for a submission's images may take; few clients wait longer for an answer."""


@router.get("/jobs/{job_id}/", summary="Show a job")
async def show_job(
    gateway: ThisGateway, job: JobForViewer, logs_limit: Annotated[int, Query(ge=0, le=5000)] = 1000
) -> models.JobDetail:
    """The job with its progress by stages, its counters and the newest lines of its log."""
    return await job_view(gateway, job, logs=logs_limit, says_why=True)


@router.post("/jobs/", status_code=201, summary="Submit a job")
async def create_job(gateway: ThisGateway, caller: SubmitterCaller, new: models.NewJob) -> models.JobDetail:
    """Queue images for processing; the job begins at once.

    Local sources are taken only from the project's folder: `<root>/<project>` in one of the image roots; those in
    buckets from `<root>/<project>` in one of the bucket roots.
    """
    caller.check_priority(new.priority)
    project = await _project(gateway, caller, new.project)
    if new.detections_of is not None:
        source = await job_of(gateway, caller, JobId(new.detections_of))
        if source.project_id != project.project_id:
            raise errors.InvalidInput(f"job {source.job_id} is of project {source.project}, not of {project.slug}")
    submission = submit.Submission(
        sources=new.sources,
        images=[SubmittedImage(one.url, one.captured_at, one.deployment) for one in new.images],
        pipeline=new.pipeline or registry.DEFAULT_PIPELINE,
        project=project.slug,
        name=new.name,
        config=new.config,
        priority=new.priority,
        due=new.due,
        interactive=new.interactive,
        limit=new.limit,
        shuffle=new.shuffle,
        reprocess=new.reprocess,
        dispatch_mode=new.dispatch_mode,
        deployment=new.deployment,
        # The submitter may not see the files, so the gateway does not read their headers for it.
        exif="never",
        created_by=caller.owner,
        detections_of=new.detections_of,
    )
    async with gateway.callers.submitting(caller):
        submitted = await submit.submit(
            gateway.http.services,
            submission,
            allowed_roots=_roots(gateway, caller, project),
            allowed_buckets=_bucket_roots(gateway, caller, project),
            most_interactive=MOST_INTERACTIVE[caller.role],
            within=LOOK_WITHIN,
        )
    shown = await job_view(gateway, await job_of(gateway, caller, submitted.job_id))
    return shown.model_copy(update={"warnings": list(submitted.warnings)})


@router.post("/jobs/{job_id}/run/", summary="Run a job")
async def run_job(gateway: ThisGateway, job: JobForSubmitter) -> models.JobDetail:
    """Jobs run by themselves as soon as they are submitted, so there is nothing to do for one that is not over."""
    if job.status not in ACTIVE:
        raise errors.Conflict(f"job {job.job_id} is {job.status}; a job that is over can be retried")
    return await job_view(gateway, job)


@router.post("/jobs/{job_id}/retry/", summary="Retry a job")
async def retry_job(gateway: ThisGateway, caller: SubmitterCaller, job: JobForSubmitter) -> models.JobDetail:
    """Queue the failed and missing images of a job that is over once more."""
    most = MOST_INTERACTIVE[caller.role]
    # One that is counted may wait for another act on its project, and holds a connection to the catalog meanwhile.
    waits = job.interactive and most is not None
    async with gateway.callers.submitting(caller) if waits else nullcontext():
        retried = await retry.retry(gateway.http.services, job.job_id, by=caller.owner, most_interactive=most)
    shown = await job_view(gateway, await job_of(gateway, caller, job.job_id))
    return shown.model_copy(update={"warnings": list(retried.warnings)})


@router.post("/jobs/{job_id}/cancel/", summary="Cancel a job")
async def cancel_job(gateway: ThisGateway, caller: SubmitterCaller, job: JobForSubmitter) -> models.JobDetail:
    """Cancel a job; one that is over stays as it is."""
    await cancel.cancel(gateway.http.services, job.job_id, reason=f"asked for by {caller.name}", by=caller.owner)
    return await job_view(gateway, await job_of(gateway, caller, job.job_id))


def _roots(gateway: Gateway, caller: Token, project: Project) -> list[Path]:
    """The folders that local sources may be in: the project's own, or every image root for an admin of all projects."""
    roots = gateway.settings.image_roots
    if caller.scope is None:
        return list(roots)
    return [project.image_root] if project.image_root else [root / project.slug for root in roots]


def _bucket_roots(gateway: Gateway, caller: Token, project: Project) -> list[str] | None:
    """The same for buckets, whose URLs the gateway signs with the deployment's keys; None for any bucket."""
    if caller.scope is None or gateway.settings.s3_anonymous:
        return None
    return [f"{root}/{project.slug}" for root in gateway.settings.bucket_roots]


async def _project(gateway: Gateway, caller: Token, named: str | int) -> Project:
    """One of the caller's projects, by id or slug. Raises `NotFound`."""
    for project in await gateway.http.services.catalog.projects.list(caller.scope):
        if str(named) in (str(project.project_id), project.slug):
            return project
    raise errors.NotFound(f"there is no project {str(named)[:64]!r}")
