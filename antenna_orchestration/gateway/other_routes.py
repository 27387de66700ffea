"""Routes for images behind signed links, and for the gateway's own health."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse, JSONResponse

from antenna_orchestration import __version__, errors
from antenna_orchestration.dispatch import image_urls
from antenna_orchestration.gateway.dependencies import ThisGateway, host_of

router = APIRouter()


@router.get("/api/v2/images/{signed}/", tags=["images"], summary="Read an image", response_class=FileResponse)
async def read_image(
    request: Request, gateway: ThisGateway, signed: Annotated[str, Path(max_length=500)]
) -> FileResponse:
    """A local image, behind the link that came with its task. The link is all that is needed, until it expires."""
    path = await image_urls.local_file(gateway.http, signed)
    connection = getattr(request.state, "connection", None)
    if connection is not None and not connection.is_owned_by(f"links of {host_of(request)}"):
        raise errors.TooMany("too many connections that read images from this address")
    return FileResponse(path, headers={"Cache-Control": "private, max-age=3600"})


@router.get("/", include_in_schema=False)
async def root() -> dict[str, str]:
    """Where to go on."""
    return {"name": "antenna gateway", "version": __version__, "docs": "/docs", "api": "/api/v2/"}


@router.get("/livez", tags=["health"], summary="Is it alive?")
async def livez() -> dict[str, bool]:
    """True, as long as the process answers."""
    return {"status": True}


@router.get(
    "/readyz", tags=["health"], summary="Can it work?", responses={503: {"description": "A store cannot be reached."}}
)
async def readyz(gateway: ThisGateway) -> JSONResponse:
    """Whether queue, catalog and Redis answer. Without Redis the gateway works on by what it remembers."""
    found = await gateway.readiness.look()
    ready = found["queue"] and found["catalog"]
    return JSONResponse({"status": ready, **found}, status_code=200 if ready else 503)
