"""Routes that list pipelines, algorithms and registered workers (the contract calls them processing services)."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter

from antenna_orchestration import errors
from antenna_orchestration.contract import models
from antenna_orchestration.domain.access import Token
from antenna_orchestration.gateway.dependencies import AnyCaller, ThisGateway
from antenna_orchestration.gateway.parameters import Number
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.live.workers import KEEP

router = APIRouter(prefix="/api/v2/ml", route_class=Route, tags=["pipelines and workers"])


@router.get("/pipelines/", summary="List pipelines")
async def list_pipelines(gateway: ThisGateway, caller: AnyCaller) -> models.RunnablePipelineList:
    """The pipelines that jobs of the token's projects may name, in one page."""
    workers = await _services(gateway, caller)
    found = [
        models.RunnablePipeline(
            id=row["slug"],
            slug=row["slug"],
            name=row["name"],
            version=row["version"],
            description=row["description"],
            is_public=row["is_public"],
            algorithms=[models.AlgorithmItem(**algorithm) for algorithm in row["algorithms"]],
            processing_services=[worker.id for worker in workers if row["slug"] in worker.pipelines],
            created_at=row["registered_at"],
        )
        for row in await gateway.http.services.catalog.pipelines.runnable(caller.scope)
    ]
    return models.RunnablePipelineList(count=len(found), results=found)


@router.get("/algorithms/", summary="List algorithms")
async def list_algorithms(gateway: ThisGateway, caller: AnyCaller) -> models.AlgorithmList:
    """The algorithms of these pipelines, in one page."""
    found = {
        algorithm["id"]: models.AlgorithmItem(**algorithm)
        for row in await gateway.http.services.catalog.pipelines.runnable(caller.scope)
        for algorithm in row["algorithms"]
    }
    return models.AlgorithmList(count=len(found), results=[found[number] for number in sorted(found)])


@router.get("/processing_services/", summary="List registered workers")
async def list_processing_services(gateway: ThisGateway, caller: AnyCaller) -> models.ProcessingServiceList:
    """The workers that registered for the token's projects, in one page: whether they are there, and how fast."""
    found = await _services(gateway, caller)
    return models.ProcessingServiceList(count=len(found), results=found)


@router.get("/processing_services/{service_id}/", summary="Show a registered worker")
async def show_processing_service(
    gateway: ThisGateway, caller: AnyCaller, service_id: Number
) -> models.ProcessingServiceItem:
    """The same of one of them."""
    return await _service(gateway, caller, service_id)


@router.get("/processing_services/{service_id}/status/", summary="Is a registered worker there?")
async def show_status(gateway: ThisGateway, caller: AnyCaller, service_id: Number) -> models.ProcessingServiceStatus:
    """Whether it was heard of lately. Workers lease; they are not called."""
    found = await _service(gateway, caller, service_id)
    return models.ProcessingServiceStatus(
        server_live=found.last_seen_live,
        pipelines_online=found.pipelines if found.last_seen_live else [],
        endpoint_url=found.endpoint_url,
        latency=found.last_seen_latency,
        error=None if found.last_seen_live else f"not heard of since {found.last_seen:%Y-%m-%d %H:%M:%S} UTC",
    )


async def _service(gateway: Gateway, caller: Token, number: int) -> models.ProcessingServiceItem:
    """Raises `NotFound`, also for a worker of other projects only."""
    for one in await _services(gateway, caller):
        if one.id == number:
            return one
    raise errors.NotFound(f"there is no processing service {number}")


async def _services(gateway: Gateway, caller: Token) -> list[models.ProcessingServiceItem]:
    http = gateway.http
    registered = await http.services.catalog.pipelines.workers(caller.scope)
    alive = {one.worker for one in await http.services.heartbeats.workers()}
    now = await http.live.leases.now()
    records = {one.name: one for one in await http.live.workers.heard_since(now - KEEP)}
    may_run = {row["slug"] for row in await http.services.catalog.pipelines.runnable(caller.scope)}
    found: list[models.ProcessingServiceItem] = []
    for row in registered:
        record = records.get(row["name"])
        heard = datetime.fromtimestamp(record.heard, UTC) if record else row["last_seen"]
        # What it said last; other projects' private pipelines are none of the caller's business.
        served = may_run & {*row["pipelines"], *(record.pipelines if record else ())}
        found.append(
            models.ProcessingServiceItem(
                id=row["worker_id"],
                name=row["details"].get("service") or row["name"],
                kind=row["kind"],
                endpoint_url=(record.service if record else "") or None,
                projects=row["projects"],
                pipelines=sorted(served),
                last_seen=max(heard, row["last_seen"]),
                last_seen_live=row["name"] in alive,
                last_seen_latency=round(record.speed.batch, 3) if record and record.speed.batch else None,
            )
        )
    return found
