"""Routes for whoever starts workers from outside: how much waits, as one figure."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.domain.access import Token
from antenna_orchestration.gateway.dependencies import CountingCaller, ThisGateway
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.processing import scale

router = APIRouter(prefix="/api/v2/scale", route_class=Route, tags=["scale"])

Within = Annotated[float, Query(ge=1, le=10**6, description="Seconds in which what waits is to be done.")]
Reaches = Annotated[
    str, Query(max_length=1_000, description="Kinds of images that the workers can load; not given: http and S3.")
]


@router.get("/", summary="How much waits, of all pipelines")
async def all_waiting(
    gateway: ThisGateway, caller: CountingCaller, within: Within = 600.0, reaches: Reaches = ""
) -> models.Backlog:
    """Images that wait or are leased, the seconds of one worker's time that they take, and the workers for that."""
    return await _backlog(gateway, caller, pipeline=None, within=within, reaches=reaches)


@router.get("/{pipeline}/", summary="How much waits for a pipeline")
async def waiting_for_pipeline(
    gateway: ThisGateway, caller: CountingCaller, pipeline: str, within: Within = 600.0, reaches: Reaches = ""
) -> models.Backlog:
    """The same of one pipeline; 404 for one that workers of this installation do not serve."""
    return await _backlog(gateway, caller, pipeline=pipeline, within=within, reaches=reaches)


async def _backlog(
    gateway: Gateway, caller: Token, *, pipeline: str | None, within: float, reaches: str
) -> models.Backlog:
    scene = await gateway.backlogs.look()
    # A zero would have its workers stopped, and none started, for a name that is misspelt or a file that is missing.
    if pipeline is not None and pipeline not in scene.pipelines:
        raise errors.NotFound(f"workers of this installation serve no pipeline {pipeline[:64]}")
    found = scale.backlog_outside(
        scene,
        pipelines=scene.pipelines if pipeline is None else {pipeline},
        scope=caller.scope,
        reaches=[kind.strip() for kind in reaches.split(",") if kind.strip()],
        within=within,
    )
    return models.Backlog(images=found.images, seconds=round(found.seconds, 3), workers=found.workers)
