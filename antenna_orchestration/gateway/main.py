"""Run a gateway, in this process or in several, until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn

from antenna_orchestration import errors, kernel
from antenna_orchestration import settings as settings_module
from antenna_orchestration.dispatch import services
from antenna_orchestration.gateway import connections, measured, protocol, several
from antenna_orchestration.gateway.app import create_app

logger = logging.getLogger(__name__)

KEEP_ALIVE: Final = 75
"""Seconds for which an idle connection is kept open: a client that posts on a connection just closed loses the post."""

LEAVE_WITHIN: Final = 10
"""Seconds that requests under way have left when the gateway is stopped; a post that still waits for the queue is lost,
and its images are processed again."""

LEAVE_SLACK: Final = 5
"""Further seconds until a process that was asked to stop is killed, when there are several."""


def run(
    settings: settings_module.Settings,
    *,
    host: str,
    port: int,
    processes: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `should_stop`, which is called about twice a second.

    Raises `InvalidSetting` when a required setting is missing, `Unavailable` when queue or catalog do not answer,
    and `SystemExit` when it cannot listen on the port.
    """
    # Before the server starts, so that what is wrong is reported as one line.
    asyncio.run(_check_stores(settings))
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    if processes > 1:
        measured.share(settings.home / "gateway-metrics")
        several.run(
            partial(_serve_on, settings),
            host=host,
            port=port,
            processes=processes,
            should_stop=should_stop,
            leave_within=LEAVE_WITHIN + LEAVE_SLACK,
        )
        return
    server = uvicorn.Server(_config(settings, host=host, port=port))
    over = threading.Event()
    asking = threading.Thread(target=_ask, args=(server, should_stop, over), name="ask whether to stop", daemon=True)
    asking.start()
    try:
        server.run()
    finally:
        over.set()
        asking.join()
    if not server.started:
        sys.exit(several.CANNOT_START)


def _serve_on(settings: settings_module.Settings, listener: socket.socket) -> None:
    """Serve in this process what comes to a socket that others listen on, too, until SIGTERM or SIGINT."""
    server = uvicorn.Server(_config(settings))
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(several.CANNOT_START)


def _config(settings: settings_module.Settings, **where: Any) -> uvicorn.Config:
    most = max(min(connections.MOST, kernel.raise_file_limit() - connections.FILES), 1)
    guard = protocol.Guard(
        connections=connections.Connections(most=most, most_of_one=min(connections.MOST_OF_ONE, most)),
        patience=settings.gateway_patience,
        proxies=settings.gateway_proxies,
    )
    return uvicorn.Config(
        create_app(settings),
        http=guard.protocol(),
        # No route takes a WebSocket, and one would leave the bounds of our protocol.
        ws="none",
        proxy_headers=bool(settings.gateway_proxies),
        forwarded_allow_ips=list(settings.gateway_proxies),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LEAVE_WITHIN,
        lifespan="on",
        **where,
    )


def _ask(server: uvicorn.Server, should_stop: Callable[[], bool], over: threading.Event) -> None:
    """Ask the server to stop when it should."""
    while not over.wait(several.ASK_EVERY):
        if should_stop():
            server.should_exit = True
            return


async def _check_stores(settings: settings_module.Settings) -> None:
    """Raise what `services.opened` raises; without Redis the gateway works, too, so that is only said."""
    async with services.opened(settings, max_connections=1) as http:
        try:
            await http.services.live.check()
        except errors.Unavailable as error:
            logger.warning("starting without what Redis holds: %s", error)
