"""The route for Prometheus: what is under way, what waits, and who does it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from antenna_orchestration.gateway.dependencies import ThisGateway, ViewerCaller

router = APIRouter()


@router.get("/metrics", tags=["health"], summary="Metrics for Prometheus", response_class=Response)
async def metrics(gateway: ThisGateway, caller: ViewerCaller) -> Response:
    """Workers, jobs, backlog, sources and alerts of the token's projects.

    With an administrator's token for all projects also what the gateway, the collectors and the sensors do.
    """
    # The library is told how many processes there are before it is imported.
    from prometheus_client import generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    from antenna_orchestration.gateway import figures

    text = generate_latest(figures.Family(await figures.read(gateway, caller)))
    if caller.scope is None:
        text += generate_latest(gateway.measured.registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
