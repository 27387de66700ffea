"""Routes for workers that say when they will not finish what they hold, as before they end."""

from __future__ import annotations

from fastapi import APIRouter, Request

from antenna_orchestration.contract import models
from antenna_orchestration.dispatch import release, worker_status
from antenna_orchestration.gateway.clients import told_apart
from antenna_orchestration.gateway.dependencies import JobForWorker, ThisGateway, WorkerCaller, host_of
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["workers"])


@router.post("/jobs/{job_id}/release/", summary="Hand tasks of a job back")
async def release_tasks(
    request: Request,
    gateway: ThisGateway,
    caller: WorkerCaller,
    job: JobForWorker,
    given: models.ReleaseRequest | None = None,
) -> models.ReleaseAnswer:
    """Hands back the tasks of these `reply_subjects`, or without them all that this worker holds of the job.

    They are offered to others at once. What the worker does not hold any more is passed over.
    """
    asked = given or models.ReleaseRequest()
    worker = told_apart(request, caller, asked.client_info)
    await worker_status.hear(gateway.http, worker, host=host_of(request), origin=caller)
    handed_back = await release.release(gateway.http, job.job_run, worker, asked.reply_subjects)
    return models.ReleaseAnswer(handed_back=handed_back)


@router.post("/release/", summary="Hand everything back")
async def release_everything(
    request: Request, gateway: ThisGateway, caller: WorkerCaller, given: models.GoodbyeRequest | None = None
) -> models.ReleaseAnswer:
    """Hands back all that this worker holds, of all jobs: its last call before it ends."""
    worker = told_apart(request, caller, given.client_info if given is not None else None)
    return models.ReleaseAnswer(handed_back=await release.release_all(gateway.http, worker))
