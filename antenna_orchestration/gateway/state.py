"""The objects that live as long as the gateway's process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from antenna_orchestration import kernel
from antenna_orchestration import settings as settings_module
from antenna_orchestration.answers import kept_downloads
from antenna_orchestration.dispatch import keep_leases, reported, services
from antenna_orchestration.dispatch.offers import Offers
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.gateway.backlogs import Backlogs
from antenna_orchestration.gateway.budget import Budget
from antenna_orchestration.gateway.callers import Callers
from antenna_orchestration.gateway.making import Making
from antenna_orchestration.gateway.measured import Measured
from antenna_orchestration.gateway.parsing import Parsing
from antenna_orchestration.gateway.readiness import Readiness

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One gateway process."""

    http: HttpServices
    offers: Offers
    callers: Callers
    parsing: Parsing
    budget: Budget
    readiness: Readiness
    backlogs: Backlogs
    making: Making
    room: kept_downloads.Room
    measured: Measured

    @property
    def settings(self) -> settings_module.Settings:
        """The deployment's settings."""
        return self.http.settings


@asynccontextmanager
async def opened(settings: settings_module.Settings, measured: Measured) -> AsyncIterator[Gateway]:
    """Connect to the stores, and keep the leases of HTTP workers for the length of the block."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(services.opened(settings))
        stack.push_async_callback(reported.hand_back_all, http)
        offers = Offers(http)
        parsing = Parsing(settings.home / "gateway")
        stack.callback(parsing.close)
        making = Making()
        stack.callback(making.close)
        loops = {
            "announcements": _run_forever(
                "announcements", lambda: http.services.announcements.follow(offers.on_announcements), rest=1.0
            ),
            "leases": _run_forever("leases", lambda: keep_leases.keep_quietly(http), rest=settings.task_ack_wait / 3),
        }
        for name, loop in loops.items():
            stack.callback(asyncio.create_task(loop, name=name).cancel)
        kernel.keep_what_is_imported()
        budget = Budget(largest=settings.gateway_max_body)
        yield Gateway(
            http=http,
            offers=offers,
            callers=Callers(http),
            parsing=parsing,
            budget=budget,
            making=making,
            room=kept_downloads.Room(settings.gateway_downloads),
            readiness=Readiness(http),
            backlogs=Backlogs(http),
            measured=measured,
        )


def gateway_of(request: Request) -> Gateway:
    """The gateway that serves this request."""
    return cast(Gateway, request.app.state.gateway)


async def _run_forever(name: str, act: Callable[[], Awaitable[None]], *, rest: float) -> None:
    """Repeat, whatever it raises: a gateway that answers requests but no longer keeps its leases would lose work."""
    while True:
        try:
            await act()
        except Exception:
            logger.exception("the loop %s failed; it goes on", name)
        await asyncio.sleep(rest)
