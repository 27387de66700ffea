"""What the gateway's process holds, opened with it and closed with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from antenna_orchestration import errors, settings
from antenna_orchestration.gateway.callers import Callers
from antenna_orchestration.gateway.parsing import Parsing
from antenna_orchestration.processing import http_services, keep_leases
from antenna_orchestration.processing.http_services import HttpServices
from antenna_orchestration.processing.offers import Offers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One gateway process."""

    http: HttpServices
    offers: Offers
    callers: Callers
    parsing: Parsing

    @property
    def settings(self) -> settings.Settings:
        """The deployment's settings."""
        return self.http.settings


@asynccontextmanager
async def opened(config: settings.Settings) -> AsyncIterator[Gateway]:
    """Connect, and keep the leases of HTTP workers for as long as the process lives."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_services.opened(config))
        offers = Offers(http)
        parsing = Parsing(config.home / "gateway")
        stack.callback(parsing.close)
        loops = [
            asyncio.create_task(http.services.board.follow(offers.on_board), name="board"),
            asyncio.create_task(
                _every(config.task_ack_wait / 3, lambda: keep_leases.keep_quietly(http)), name="leases"
            ),
        ]
        for loop in loops:
            loop.add_done_callback(_say_why)
            stack.callback(loop.cancel)
        yield Gateway(http=http, offers=offers, callers=Callers(http), parsing=parsing)


def of(request: Request) -> Gateway:
    """The gateway that serves this request."""
    return cast(Gateway, request.app.state.gateway)


async def _every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await act()
        except errors.EngineError:
            logger.exception("keeping leases")
        await asyncio.sleep(seconds)


def _say_why(loop: asyncio.Task[None]) -> None:
    """A loop runs for ever; one that ends takes leases or offers with it, which its log has to say."""
    if not loop.cancelled() and (error := loop.exception()) is not None:
        logger.error("the loop %s ended: %s", loop.get_name(), error, exc_info=error)
