"""The routes of a processing service, and errors in the contract's form."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from antenna_orchestration import errors, kernel
from antenna_orchestration.contract import results, serving
from antenna_orchestration.contract.models import ErrorAnswer
from antenna_orchestration.gateway import bodies
from antenna_orchestration.gateway.budget import Budget
from antenna_orchestration.gateway.middleware import Edge, shown
from antenna_orchestration.serve.engine import Engine
from antenna_orchestration.worker.device.client import PipelineUnavailable

logger = logging.getLogger(__name__)

LARGEST: Final = 32 * 2**20
"""Largest body of a request, in bytes: one large photograph as a data: URL, or a thousand links."""

CLIENT_GONE: Final = 499
"""Status that the log shows for a client that left before it was answered."""

RETRY_AFTER: Final = "5"
"""Seconds after which a request may be sent again that could not be taken."""

_UNPROCESSABLE: Final = 422


class Routes:
    """What the service answers."""

    def __init__(self, *, engine: Engine, folder: Path, token: str) -> None:
        """`folder` takes large bodies while they come in. `token` is what clients have to know; empty: nothing."""
        self._engine = engine
        self._folder = folder
        self._token = token
        self._budget = Budget(largest=LARGEST)

    async def livez(self, _: Request) -> Response:
        """That it runs."""
        return JSONResponse({"status": True})

    async def readyz(self, request: Request) -> Response:
        """The slugs of the pipelines, once all are loaded."""
        self._check_token(request)
        if self._engine.is_ready:
            return JSONResponse({"status": sorted(self._engine.ready)})
        why = "; ".join(self._engine.why_not.values()) or "pipelines are being loaded"
        return JSONResponse({"status": [], "detail": why}, 503, headers={"Retry-After": RETRY_AFTER})

    async def info(self, request: Request) -> Response:
        """The pipelines with their algorithms and labels."""
        self._check_token(request)
        said = await asyncio.to_thread(lambda: self._engine.info().model_dump_json())
        return Response(said, media_type="application/json")

    async def process(self, request: Request) -> Response:
        """What was found in images."""
        self._check_token(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # A page of another site could send anything else without being asked for its origin.
            raise HTTPException(415, "send JSON, with the header Content-Type: application/json")
        owner = request.scope["state"]["connection"].owner
        async with (
            self._budget.room(hash(owner)) as room,
            bodies.received(request, folder=self._folder, limit=LARGEST, room=room) as body,
        ):
            data = body.data if body.path is None else await asyncio.to_thread(body.path.read_bytes)
            asked = await asyncio.to_thread(serving.read_request, data or b"")
            return await _unless_gone(request, self._engine.process(asked))

    def _check_token(self, request: Request) -> None:
        """Raises `Unauthorized`."""
        if self._token and not secrets.compare_digest(_given(request).encode(), self._token.encode()):
            raise errors.Unauthorized("no token, or a wrong one: send Authorization: Bearer TOKEN")


def create_app(routes: Routes) -> Starlette:
    """The service's application."""

    def get(path: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, answer, methods=["GET"])

    app = Starlette(
        routes=[
            get("/livez", routes.livez),
            get("/readyz", routes.readyz),
            get("/info", routes.info),
            Route("/process", routes.process, methods=["POST"]),
        ],
        exception_handlers={
            errors.AntennaError: _on_error,
            HTTPException: _on_http_error,
            ClientDisconnect: _on_gone,
        },
    )
    app.add_middleware(Edge)
    return app


async def _unless_gone(request: Request, answering: Awaitable[bytes]) -> Response:
    """The answer; what it takes is broken off when the client leaves."""
    work = asyncio.ensure_future(answering)
    watch = asyncio.create_task(_gone(request), name="client")
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return Response(status_code=CLIENT_GONE)
        return Response(work.result(), media_type="application/json")
    finally:
        await kernel.end(work, watch)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _given(request: Request) -> str:
    """The token of a request, also as the password of HTTP basic authentication, which URLs can hold."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return rest.strip() if scheme.lower() in ("bearer", "token") else ""
    try:
        return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(ErrorAnswer(detail=results.reason_of(detail)).model_dump(), status, headers=headers)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.AntennaError)
    headers: dict[str, str] = {}
    status = error.http_status
    if isinstance(error, (errors.Unavailable, PipelineUnavailable, errors.TooMany)):
        status, headers = max(status, 503) if status != 429 else 429, {"Retry-After": RETRY_AFTER}
    elif isinstance(error, errors.Unauthorized):
        headers = {"WWW-Authenticate": 'Bearer, Basic realm="antenna"'}
    elif isinstance(error, errors.InvalidInput) and not isinstance(error, errors.TooLarge):
        status = _UNPROCESSABLE
    if status >= 500:
        logger.warning("%s %s: %s", request.method, shown(request.scope["path"]), error)
    return _answer(status, str(error), headers)


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, str(error.detail), dict(error.headers or {}))


async def _on_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
