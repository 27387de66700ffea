"""Routes that list projects, and list and register their pipelines."""

from __future__ import annotations

from fastapi import APIRouter, Request

from antenna_orchestration.contract import client_info, models
from antenna_orchestration.dispatch import register, worker_status
from antenna_orchestration.gateway.dependencies import (
    AnyCaller,
    ProjectForAnyCaller,
    ProjectForRegistration,
    RegisteringCaller,
    ThisGateway,
    host_of,
)
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])


@router.get("/projects/", summary="List projects")
async def list_projects(gateway: ThisGateway, caller: AnyCaller) -> models.ProjectList:
    """All projects of the token, in one page."""
    projects = await gateway.http.services.catalog.projects.list(caller.scope)
    return models.ProjectList(
        count=len(projects),
        results=[models.ProjectItem(id=one.project_id, name=one.name, slug=one.slug) for one in projects],
    )


@router.get("/projects/{project_id}/pipelines/", summary="List a project's pipelines")
async def list_pipelines(gateway: ThisGateway, project: ProjectForAnyCaller) -> models.PipelineList:
    """The pipelines that workers registered for the project."""
    found = [
        await gateway.http.services.catalog.pipelines.find(slug)
        for slug in await gateway.http.services.catalog.pipelines.of_project(project)
    ]
    items = [
        models.PipelineItem(
            slug=one.slug,
            name=one.name,
            version=one.version,
            description=one.description,
            algorithms=[{"key": each.key, "version": each.version, "name": each.name} for each in one.algorithms],
        )
        for one in found
        if one is not None
    ]
    return models.PipelineList(count=len(items), results=items)


@router.post("/projects/{project_id}/pipelines/", status_code=201, summary="Register pipelines")
async def register_pipelines(
    request: Request,
    gateway: ThisGateway,
    caller: RegisteringCaller,
    project: ProjectForRegistration,
    wanted: models.RegistrationRequest,
) -> models.RegistrationAnswer:
    """A worker says which pipelines it serves. The same again is fine; a contradiction is a 409.

    Only the project can run them, unless an admin of all projects registers them with `public`.
    """
    pipelines = [register.pipeline_row_of(one) for one in wanted.pipelines]
    done = await register.register(
        gateway.http,
        project,
        caller,
        pipelines,
        service=wanted.processing_service_name,
        host=host_of(request),
        client_info=wanted.client_info,
        public=wanted.public,
    )
    # Not under the process's name: it registers for all processes of its host.
    info = client_info.read(wanted.client_info)
    await worker_status.hear(gateway.http, caller, host=host_of(request), pipelines=done.pipelines, client_info=info)
    return models.RegistrationAnswer(
        pipelines=list(done.pipelines),
        pipelines_created=list(done.created),
        pipelines_updated=list(done.updated),
        algorithms_created=list(done.algorithms_created),
        processing_service_id=done.worker_id,
    )
