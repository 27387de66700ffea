"""Run a gateway in this process until it is stopped."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import uvicorn

from antenna_orchestration import settings as settings_module
from antenna_orchestration.dispatch import services
from antenna_orchestration.gateway.app import create_app

KEEP_ALIVE: Final = 75
"""Seconds for which an idle connection is kept open: a client that posts on a connection just closed loses the post."""

LEAVE_WITHIN: Final = 10
"""Seconds that requests under way have left when the gateway is stopped; a post that still waits for the queue is lost,
and its images are processed again."""


def run(settings: settings_module.Settings, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises `InvalidSetting` when a required setting is missing, `Unavailable` when a store does not answer, and
    `SystemExit` when it cannot listen on the port.
    """
    # Before the server starts, so that what is wrong is reported as one line.
    asyncio.run(_check_stores(settings))
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LEAVE_WITHIN,
        lifespan="on",
    )


async def _check_stores(settings: settings_module.Settings) -> None:
    async with services.opened(settings, max_connections=1) as http:
        await http.services.live.check()
