"""The way into the push worker: check, connect, run, with SIGTERM and SIGINT asking it to leave."""

from __future__ import annotations

import asyncio
import signal
import socket

from antenna_orchestration import errors, settings
from antenna_orchestration.dispatch import services
from antenna_orchestration.domain import ids
from antenna_orchestration.push import identity
from antenna_orchestration.push.engine import Pusher
from antenna_orchestration.push.options import PushOptions, PushSummary
from antenna_orchestration.push.service import ProcessingService

__all__ = ["PushOptions", "PushSummary", "run"]


def run(config: settings.Settings, options: PushOptions) -> PushSummary:
    """Run a push worker until it is idle or asked to leave.

    Raises `InvalidInput` for options that cannot be, `Unavailable` when a store does not answer at the start, and
    `Conflict` when the service describes a pipeline otherwise than it was registered before. A service that is not
    there is waited for.
    """
    return asyncio.run(_run(config, options))


async def _run(config: settings.Settings, options: PushOptions) -> PushSummary:
    ids.slug(options.project, "project")
    timeout = options.timeout or config.http_lease / 3
    if timeout > config.http_lease / 2:
        raise errors.InvalidInput(
            f"a time-out of {timeout:.0f} s is more than half of a lease: set ANTENNA_HTTP_LEASE to {2 * timeout:.0f}, "
            "here and for the gateways"
        )
    client = ProcessingService(
        options.service, timeout=timeout, connections=options.parallel + 2, largest=config.gateway_max_body
    )
    async with services.opened(config) as http, client as service:
        worker = await identity.of(http, project=options.project, service=service.name)
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
        return await pusher.run()
