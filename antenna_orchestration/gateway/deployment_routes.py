"""Routes that list deployments with their places and clocks, and import them. Each calls the command line's verb."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from antenna_orchestration import errors
from antenna_orchestration.answers import deployments
from antenna_orchestration.contract import models
from antenna_orchestration.gateway.dependencies import (
    ProjectForSubmitter,
    ProjectForViewer,
    SubmitterCaller,
    ThisGateway,
)
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])

_BODY = {
    "required": True,
    "content": {
        "text/csv": {"schema": {"type": "string", "description": "A file such as sites.csv."}},
        "application/json": {
            "schema": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["deployment"],
                    "properties": {"deployment": {"type": "string"}},
                },
                "description": "Objects whose keys are the columns of such a file.",
            }
        },
    },
}


@router.get("/projects/{project_id}/deployments/", summary="List deployments")
async def list_deployments(gateway: ThisGateway, project: ProjectForViewer) -> models.DeploymentList:
    """The deployments of the project, with what is known of their places and clocks, in one page."""
    found = await deployments.list_deployments(gateway.http.services, project.slug)
    return models.DeploymentList(
        count=len(found), results=[models.DeploymentItem.model_validate(deployments.as_dict(one)) for one in found]
    )


@router.post(
    "/projects/{project_id}/deployments/", summary="Describe deployments", openapi_extra={"requestBody": _BODY}
)
async def import_deployments(
    gateway: ThisGateway, caller: SubmitterCaller, project: ProjectForSubmitter, said: Annotated[Any, Body()]
) -> models.DeploymentsImported:
    """Say where and in which time zone cameras stood: a CSV file as it is, or a JSON list of objects with its columns.

    All of it or nothing; the answer to a faulty one names each row and column. What it says replaces what was known,
    and what it does not say stays. A deployment that does not exist is made.
    """
    services = gateway.http.services
    if isinstance(said, bytes):
        done = await deployments.import_file(services, project.slug, said, "the file", by=caller.owner)
    elif isinstance(said, list) and all(isinstance(one, dict) for one in said):
        done = await deployments.import_objects(services, project.slug, said, by=caller.owner)
    else:
        raise errors.InvalidInput("the body is neither CSV (Content-Type: text/csv) nor a JSON list of objects")
    return models.DeploymentsImported(
        described=[place.deployment for place in done.places],
        created=list(done.created),
        without_photographs=list(done.without_photographs),
        warnings=done.warnings,
    )
