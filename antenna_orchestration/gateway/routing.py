"""Routes with a JSON body: the caller is known before its body is read, and what a body may grow to is bounded."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from antenna_orchestration import errors
from antenna_orchestration.gateway.state import gateway_of

MOST_CONTAINERS: Final = 500_000
"""Objects and arrays in one body. Each takes up to 200 bytes of memory, and three bytes on the wire; a submission of
100,000 images has as many."""

MOST_VALUES: Final = 3_000_000


class _Bounded(Request):
    """A request whose JSON is counted before it is read."""

    async def json(self) -> Any:
        body = await self.body()
        if body.count(b"{") + body.count(b"[") > MOST_CONTAINERS or body.count(b",") > MOST_VALUES:
            raise errors.TooLarge("the body has too many values; split it")
        return await super().json()


class Route(APIRoute):
    """A route that reads no body of a stranger."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI asks for it."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_known(request: Request) -> Response:
            await gateway_of(request).callers.authenticate(request)
            return await handle(_Bounded(request.scope, request.receive))

        return handle_known
