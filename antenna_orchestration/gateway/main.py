"""Run a gateway in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import uvicorn

from antenna_orchestration import settings
from antenna_orchestration.dispatch import services
from antenna_orchestration.gateway.app import create_app

KEEP_ALIVE: Final = 75
"""Seconds that an idle connection is kept: a client that posts on one just closed would lose the post."""

LEAVE_WITHIN: Final = 10
"""Seconds that requests under way have left when the gateway is told to stop; a post that waits for the queue is lost,
and its images are done again."""


def run(config: settings.Settings, *, host: str, port: int) -> None:
    """Serve. SIGTERM and SIGINT end it in order.

    Raises `InvalidSetting` when something is not set, `Unavailable` when a store does not answer, and `SystemExit` when
    it cannot listen.
    """
    # Before the server is there: what is wrong is one line then.
    asyncio.run(_try(config))
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(
        create_app(config),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LEAVE_WITHIN,
        lifespan="on",
    )


async def _try(config: settings.Settings) -> None:
    async with services.opened(config, max_connections=1) as http:
        await http.services.live.check()
