"""Entry point of the push worker: checks, connects and runs it; SIGTERM and SIGINT ask it to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.dispatch import services
from antenna_orchestration.domain import ids
from antenna_orchestration.push import identity
from antenna_orchestration.push.engine import Pusher
from antenna_orchestration.push.options import PushOptions, PushSummary
from antenna_orchestration.push.service import ProcessingService

ASK_EVERY: Final = 0.5
"""Seconds between two questions whether to stop."""


def run(
    settings: settings_module.Settings, options: PushOptions, *, should_stop: Callable[[], bool] = lambda: False
) -> PushSummary:
    """Run a push worker until it is idle or asked to stop. Waits for a service that is not ready.

    `should_stop` is called about twice a second on a thread. SIGTERM and SIGINT ask it to stop, too.

    Raises `InvalidInput` for invalid options, `Unavailable` when a store does not answer at the start, and `Conflict`
    when the service describes a pipeline differently than it is registered.
    """
    return asyncio.run(_run(settings, options, should_stop))


async def _run(
    settings: settings_module.Settings, options: PushOptions, should_stop: Callable[[], bool]
) -> PushSummary:
    ids.slug(options.project, "project")
    timeout = options.timeout or settings.http_lease / 3
    if timeout > settings.http_lease / 2:
        raise errors.InvalidInput(
            f"a time-out of {timeout:.0f} s is more than half of a lease: set ANTENNA_HTTP_LEASE to {2 * timeout:.0f}, "
            "here and for the gateways"
        )
    client = ProcessingService(
        options.service, timeout=timeout, connections=options.parallel + 2, largest=settings.gateway_max_body
    )
    async with services.opened(settings) as http, client as service:
        worker = await identity.worker_token(http, project=options.project, service=service.name)
        pusher = Pusher(
            http=http,
            worker=worker,
            service=service,
            options=options,
            timeout=timeout,
            host=socket.gethostname(),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, pusher.ask_to_stop)
        asking = asyncio.create_task(_ask(pusher, should_stop), name="ask whether to stop")
        try:
            return await pusher.run()
        finally:
            asking.cancel()


async def _ask(pusher: Pusher, should_stop: Callable[[], bool]) -> None:
    """Ask the worker to stop when it should."""
    while True:
        if await asyncio.to_thread(should_stop):
            pusher.ask_to_stop()
            return
        await asyncio.sleep(ASK_EVERY)
