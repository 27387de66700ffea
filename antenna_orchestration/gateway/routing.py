"""Routes of callers with tokens: the role is checked before a body is read, and the body's size is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.responses import Response

from antenna_orchestration import errors
from antenna_orchestration.domain.access import Act
from antenna_orchestration.gateway import bodies
from antenna_orchestration.gateway.state import gateway_of

LARGEST: Final = 32 * 2**20
"""Largest body, in bytes, of a request other than a post of results; those are streamed."""

MOST_CONTAINERS: Final = 500_000
"""Largest number of objects and arrays in one body. Each takes up to 200 bytes of memory, but only three on the wire. A
submission of 100,000 images stays below it."""

MOST_VALUES: Final = 3_000_000

_ACT: Final = "_antenna_act"

F = TypeVar("F", bound=Callable[..., Any])


def demands(act: Act) -> Callable[[F], F]:
    """Mark a dependency as the one that lets only those through whose role allows `act`."""

    def mark(dependency: F) -> F:
        setattr(dependency, _ACT, act)
        return dependency

    return mark


def acts_of(dependant: Dependant) -> Iterator[Act]:
    """What a route's dependencies ask its caller's role for."""
    if (act := getattr(dependant.call, _ACT, None)) is not None:
        yield act
    for one in dependant.dependencies:
        yield from acts_of(one)


class _Received(Request):
    """A request whose body was received already."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        # Where Starlette keeps it once it was read.
        self._body = body


class Route(APIRoute):
    """A route that says in its signature what it asks the caller's role for, and reads a body only then."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls for each request."""
        acts = set(acts_of(self.dependant))
        if len(acts) != 1:
            raise TypeError(f"the route {self.path} does not say in its signature who may call it")
        (act,) = acts
        handle = super().get_route_handler()
        if self.body_field is None:
            # FastAPI reads no body for this route. `post_results` is one of these: it reads its body itself, and its
            # `PostingCaller` authenticates first.
            return handle

        async def handle_allowed(request: Request) -> Response:
            gateway = gateway_of(request)
            caller = await gateway.callers.authenticate(request)
            caller.check(act)
            folder = gateway.parsing.folder
            async with (
                gateway.budget.room(caller.token_id) as room,
                bodies.received(request, folder=folder, limit=LARGEST, room=room) as body,
            ):
                if body.path is None:
                    return await handle(_Received(request, _checked(body.data or b"")))
                async with gateway.callers.reading(caller):
                    data = await asyncio.to_thread(body.path.read_bytes)
                    return await handle(_Received(request, _checked(data)))

        return handle_allowed


def _checked(body: bytes) -> bytes:
    """The body, if it has not too many values; they are counted before they are parsed."""
    if body.count(b"{") + body.count(b"[") > MOST_CONTAINERS or body.count(b",") > MOST_VALUES:
        raise errors.TooLarge("the body has too many values; split it")
    return body
