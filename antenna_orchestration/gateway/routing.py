"""Routes with a JSON body: callers are authenticated before their body is read, and the body's size is bounded."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from antenna_orchestration import errors
from antenna_orchestration.gateway.state import gateway_of

MOST_CONTAINERS: Final = 500_000
"""Largest number of objects and arrays in one body. Each takes up to 200 bytes of memory, but only three on the wire. A
submission of 100,000 images stays below it."""

MOST_VALUES: Final = 3_000_000


class _Bounded(Request):
    """A request whose JSON values are counted before they are parsed."""

    async def json(self) -> Any:
        body = await self.body()
        if body.count(b"{") + body.count(b"[") > MOST_CONTAINERS or body.count(b",") > MOST_VALUES:
            raise errors.TooLarge("the body has too many values; split it")
        return await super().json()


class Route(APIRoute):
    """A route that reads bodies of authenticated callers only."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls for each request."""
        handle = super().get_route_handler()
        if self.body_field is None:
            # FastAPI reads no body for this route. `post_results` is one of these: it reads its body itself, and its
            # `PostingCaller` authenticates first.
            return handle

        async def handle_known(request: Request) -> Response:
            await gateway_of(request).callers.authenticate(request)
            return await handle(_Bounded(request.scope, request.receive))

        return handle_known
