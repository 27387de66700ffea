"""The FastAPI application: its routes, and errors in the form that the contract prescribes."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from antenna_orchestration import __version__, errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.contract.models import ErrorAnswer
from antenna_orchestration.gateway import (
    dataset_routes,
    deployment_routes,
    derived_routes,
    job_routes,
    metrics_routes,
    ml_routes,
    name_routes,
    other_routes,
    pages,
    recipe_routes,
    registry_routes,
    release_routes,
    report_routes,
    result_routes,
    review_routes,
    scale_routes,
    state,
    worker_routes,
)
from antenna_orchestration.gateway.measured import Measured
from antenna_orchestration.gateway.middleware import CLIENT_GONE, Edge, shown

logger = logging.getLogger(__name__)

MOST_PROBLEMS: Final = 50
"""Wrong fields that an answer names; a list may hold a hundred thousand."""

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "The request cannot be used.",
        401: "No token, or one that is wrong, expired or revoked.",
        403: "The token's role does not allow this.",
        404: "There is no such thing in the token's projects.",
        409: "The job, or an earlier registration, does not allow this.",
        413: "The body is too large.",
        429: "Too many requests.",
        503: "A store cannot be reached; the same request may work later.",
    }.items()
}


def create_app(settings: settings_module.Settings) -> FastAPI:
    """The gateway of a deployment. Its lifespan connects to the stores when the server starts."""
    measured = Measured()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with state.opened(settings, measured) as gateway:
            app.state.gateway = gateway
            yield

    app = FastAPI(
        title="Antenna gateway",
        version=__version__,
        description="Existing workers lease tasks and post results here; scripts submit and watch jobs.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=_ERRORS,
    )
    # In this order because `jobs/next/` would otherwise be read as a job's number.
    for module in (
        worker_routes,
        release_routes,
        job_routes,
        result_routes,
        derived_routes,
        report_routes,
        registry_routes,
        name_routes,
        recipe_routes,
        review_routes,
        deployment_routes,
        dataset_routes,
        ml_routes,
        metrics_routes,
        scale_routes,
        other_routes,
    ):
        app.include_router(module.router)
    app.add_exception_handler(errors.AntennaError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_middleware(Edge, measured=measured)
    _describe_security(app)

    @cache
    def described() -> tuple[bytes, bytes]:
        # Once: they take a second to make, anybody may ask for them, and they never change.
        document = app.openapi()
        return pages.describe(document).encode(), json.dumps(document, ensure_ascii=False).encode()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(described()[0], headers={"Content-Security-Policy": pages.POLICY})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(described()[1], media_type="application/json")

    return app


def _answer(
    status: int, detail: str, headers: dict[str, str] | None = None, more: dict[str, Any] | None = None
) -> JSONResponse:
    detail = detail.encode("utf-8", "replace").decode()
    return JSONResponse({**(more or {}), "detail": detail}, status_code=status, headers=headers)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.AntennaError)
    if isinstance(error, errors.InternalError):
        logger.error("%s %s: %s", request.method, shown(request.scope["path"]), error)
    if isinstance(error, errors.Unavailable):
        logger.warning("%s %s: %s", request.method, shown(request.scope["path"]), error)
        # Clients of some routes read `error`, others `detail`. The cause is only logged.
        more = {"error": error.to_clients, "status": "error"}
        return _answer(error.http_status, error.to_clients, {"Retry-After": "5"}, more)
    headers = {"WWW-Authenticate": "Token"} if isinstance(error, errors.Unauthorized) else None
    if isinstance(error, errors.TooMany):
        headers = {"Retry-After": "1"}
    if isinstance(error, errors.RangeNotSatisfiable):
        # By which curl and wget see that they have the whole file.
        headers = {"Content-Range": f"bytes */{error.size}"}
    return _answer(error.http_status, str(error), headers)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields: dict[str, list[str]] = {}
    for problem in error.errors()[:MOST_PROBLEMS]:
        where = ".".join(str(part) for part in problem["loc"][1:]) or "body"
        fields.setdefault(where, []).append(str(problem["msg"]))
    detail = "; ".join(f"{where}: {', '.join(said)}" for where, said in list(fields.items())[:5])
    return _answer(400, detail, more=jsonable_encoder(fields))


async def _on_http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _answer(error.status_code, str(error.detail), dict(error.headers or {}))


async def _on_gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def _describe_security(app: FastAPI) -> None:
    """Add to the OpenAPI document how callers authenticate."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        document = plain()
        scheme = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Token <token>`"}
        document.setdefault("components", {}).setdefault("securitySchemes", {})["token"] = scheme
        for path, methods in document["paths"].items():
            for operation in methods.values():
                # This gateway answers invalid bodies and parameters with 400.
                operation["responses"].pop("422", None)
                if path.startswith(("/api/", "/metrics")) and "/images/" not in path:
                    operation["security"] = [{"token": []}]
        return document

    app.openapi = described  # type: ignore[method-assign]
