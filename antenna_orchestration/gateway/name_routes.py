"""Routes of names and species lists: list, import, use. Each calls the same verb as the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query

from antenna_orchestration.answers import names
from antenna_orchestration.contract import models
from antenna_orchestration.gateway.dependencies import (
    ProjectForSubmitter,
    ProjectForViewer,
    SubmitterCaller,
    ThisGateway,
    ViewerCaller,
)
from antenna_orchestration.gateway.parameters import LARGEST_PAGE
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["names"])

_BODY: Final = {
    "required": True,
    "content": {
        "text/csv": {"schema": {"type": "string", "description": "A table such as taxa.csv, or a plain list."}},
        "text/tab-separated-values": {"schema": {"type": "string", "description": "A species list of GBIF."}},
        "application/zip": {"schema": {"type": "string", "format": "binary", "description": "The same as a zip."}},
        "application/json": {"schema": {"type": "array", "description": "A category map with ranks, or names."}},
    },
}

_FILE: Final = "the file"
"""What messages call a body, which has no name."""


@router.get("/projects/{project_id}/taxa/", summary="List names")
async def list_taxa(
    gateway: ThisGateway,
    project: ProjectForViewer,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> models.TaxonList:
    """The project's labels with the names that they stand for, by label."""
    known = await names.known(gateway.http.services, project.slug, limit=limit, offset=offset)
    results = [models.TaxonItem(**taxon.as_data(label)) for label, taxon in known.taxa.items()]
    return models.TaxonList(count=known.count, results=results)


@router.post("/projects/{project_id}/taxa/", summary="Import names", openapi_extra={"requestBody": _BODY})
async def import_taxa(
    gateway: ThisGateway, caller: SubmitterCaller, project: ProjectForSubmitter, said: Annotated[Any, Body()]
) -> models.NamesImported:
    """Say what labels stand for, with a file as `antenna taxa import` takes it. All of it or nothing."""
    async with gateway.callers.submitting(caller):
        done = await names.import_taxa(gateway.http.services, project.slug, _bytes(said), _FILE, by=caller.owner)
    return models.NamesImported(**names.imported_as_dict(done))


@router.get("/projects/{project_id}/taxa/unmatched/", summary="List labels without a name")
async def list_unmatched(
    gateway: ThisGateway,
    caller: ViewerCaller,
    project: ProjectForViewer,
    pipeline: Annotated[str | None, Query(max_length=64)] = None,
) -> models.LabelMatchList:
    """How the labels of the project's pipelines, or of one pipeline, match its names."""
    async with gateway.callers.submitting(caller):
        found = await names.unmatched_labels(gateway.http.services, project.slug, pipeline=pipeline)
    return models.LabelMatchList(count=len(found), results=_matches(found))


@router.get("/projects/{project_id}/species-lists/", summary="List species lists")
async def list_species_lists(gateway: ThisGateway, project: ProjectForViewer) -> models.SpeciesListList:
    """The project's species lists, and where each holds."""
    known = await names.known(gateway.http.services, project.slug, limit=0)
    results = [models.SpeciesListItem(**names.list_as_dict(one)) for one in known.species_lists]
    return models.SpeciesListList(count=len(results), results=results)


@router.post(
    "/projects/{project_id}/species-lists/", summary="Import a species list", openapi_extra={"requestBody": _BODY}
)
async def import_species_list(
    gateway: ThisGateway,
    caller: SubmitterCaller,
    project: ProjectForSubmitter,
    name: Annotated[str, Query(max_length=1000)],
    said: Annotated[Any, Body()],
) -> models.NamesImported:
    """Make a species list of a file; again, it is replaced. It holds where `use` puts it."""
    async with gateway.callers.submitting(caller):
        done = await names.import_list(gateway.http.services, project.slug, name, _bytes(said), _FILE, by=caller.owner)
    return models.NamesImported(**names.imported_as_dict(done))


@router.post("/projects/{project_id}/species-lists/use/", summary="Let a species list hold")
async def use_species_list(
    gateway: ThisGateway, caller: SubmitterCaller, project: ProjectForSubmitter, wanted: models.SpeciesListUse
) -> models.LabelMatchList:
    """Let a species list hold for the project, or for one deployment instead; the answer says what it keeps."""
    async with gateway.callers.submitting(caller):
        found = await names.use_list(
            gateway.http.services, project.slug, wanted.species_list, deployment=wanted.deployment
        )
    return models.LabelMatchList(count=len(found), results=_matches(found))


def _bytes(said: Any) -> bytes:
    """The file; FastAPI reads a body that says it is JSON."""
    return said if isinstance(said, bytes) else json.dumps(said).encode()


def _matches(found: Sequence[names.Match]) -> list[models.LabelMatch]:
    return [models.LabelMatch(**names.match_as_dict(one)) for one in found]
