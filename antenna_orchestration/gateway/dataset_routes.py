"""Routes of what is said of a project as a data set: read, keep, take back. Each calls the command line's verb."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body

from antenna_orchestration import errors
from antenna_orchestration.answers import datasets
from antenna_orchestration.contract import models
from antenna_orchestration.gateway.dependencies import (
    ProjectForSubmitter,
    ProjectForViewer,
    SubmitterCaller,
    ThisGateway,
)
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])

_BODY: Final = {
    "required": True,
    "content": {
        "application/yaml": {"schema": {"type": "string", "description": "A file such as dataset.yaml."}},
        "application/json": {"schema": {"type": "object", "description": "The same as an object."}},
    },
}


@router.get("/projects/{project_id}/dataset/", summary="Read the description of a data set")
async def read_dataset(gateway: ThisGateway, project: ProjectForViewer) -> models.DatasetItem:
    """What is said of the project as a data set, which exports use: 404 if nothing is."""
    known = await datasets.of_project(gateway.http.services, project.slug)
    if known is None:
        raise errors.NotFound(f"project {project.slug} is not described as a data set")
    return models.DatasetItem(**known.as_dict())


@router.put("/projects/{project_id}/dataset/", summary="Describe a data set", openapi_extra={"requestBody": _BODY})
async def keep_dataset(
    gateway: ThisGateway, caller: SubmitterCaller, project: ProjectForSubmitter, said: Annotated[Any, Body()]
) -> models.DatasetItem:
    """Say who made the photographs and under which licences, in place of what was said before."""
    services = gateway.http.services
    # JSON is YAML; FastAPI reads a body that says it is JSON.
    content = (
        said
        if isinstance(said, bytes)
        else json.dumps(said, indent=2, ensure_ascii=False).encode(errors="surrogatepass")
    )
    async with gateway.callers.submitting(caller):
        await datasets.keep(services, project.slug, content, "the file", by=caller.owner)
    return await read_dataset(gateway, project)


@router.delete("/projects/{project_id}/dataset/", summary="Take the description of a data set back", status_code=204)
async def forget_dataset(gateway: ThisGateway, project: ProjectForSubmitter) -> None:
    """Take back what is said of the project as a data set. Idempotent."""
    await datasets.forget(gateway.http.services, project.slug)
