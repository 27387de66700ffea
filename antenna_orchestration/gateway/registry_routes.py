"""Routes for projects, and for the pipelines that workers register in them."""

from __future__ import annotations

from fastapi import APIRouter, Request

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.dispatch import register, worker_status
from antenna_orchestration.domain.access import Act, Token
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.gateway import state
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.worker_routes import Number

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])


@router.get("/projects/", summary="List projects")
async def list_projects(request: Request) -> models.ProjectList:
    """All projects of the token, in one page."""
    gateway = state.of(request)
    caller = await gateway.callers.authenticate(request)
    caller.check(Act.LIST)
    projects = await gateway.http.services.catalog.projects.list(caller.scope)
    return models.ProjectList(
        count=len(projects),
        results=[models.ProjectItem(id=one.project_id, name=one.name, slug=one.slug) for one in projects],
    )


@router.get("/projects/{project_id}/pipelines/", summary="List a project's pipelines")
async def list_pipelines(request: Request, project_id: Number) -> models.PipelineList:
    """The pipelines that workers registered for the project."""
    gateway = state.of(request)
    caller = await gateway.callers.authenticate(request)
    caller.check(Act.LIST)
    project = await _check_scope(request, caller, project_id)
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
    request: Request, project_id: Number, wanted: models.RegistrationRequest
) -> models.RegistrationAnswer:
    """A worker says which pipelines it serves. The same again is fine; a contradiction is a 409."""
    gateway = state.of(request)
    caller = await gateway.callers.authenticate(request)
    caller.check(Act.REGISTER)
    project = await _check_scope(request, caller, project_id)
    host = request.client.host if request.client else "unknown"
    pipelines = [register.pipeline_row_of(one) for one in wanted.pipelines]
    done = await register.register(
        gateway.http,
        project,
        caller,
        pipelines,
        service=wanted.processing_service_name,
        host=host,
        client_info=wanted.client_info,
    )
    await worker_status.hear(gateway.http, caller, host=host, pipelines=done.pipelines)
    return models.RegistrationAnswer(
        pipelines=list(done.pipelines),
        pipelines_created=list(done.created),
        pipelines_updated=list(done.updated),
        algorithms_created=list(done.algorithms_created),
        processing_service_id=done.worker_id,
    )


async def _check_scope(request: Request, caller: Token, project: int) -> ProjectId:
    """The project, if it is there and the caller's. Raises `NotFound`."""
    if caller.reaches(ProjectId(project)):
        found = await state.of(request).http.services.catalog.projects.list([ProjectId(project)])
        if found:
            return found[0].project_id
    raise errors.NotFound(f"there is no project {project}")
