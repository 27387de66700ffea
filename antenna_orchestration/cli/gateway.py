"""`antenna gateway`: run an HTTP gateway in the foreground. `antenna up` runs one, too."""

from __future__ import annotations

from typing import Annotated

import typer

from antenna_orchestration.cli import output


def gateway(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="ANTENNA_GATEWAY_HOST")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on.", show_default="ANTENNA_GATEWAY_PORT")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that share the port.", show_default="ANTENNA_GATEWAY_PROCESSES"),
    ] = None,
) -> None:
    """Run the HTTP gateway for workers and scripts.

    They need its address, ending in /api/v2, and a token (see `antenna token create`). Several gateways may run at the
    same time.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.cli import joined
    from antenna_orchestration.gateway import main

    settings = settings_module.get()
    output.show_own_logs(settings.log_level)
    stack = joined.JoinedStack(settings, "nats_url", "redis_url", "database_url")
    main.run(
        settings,
        host=host or settings.gateway_host,
        port=port or settings.gateway_port,
        processes=processes or settings.gateway_processes,
        should_stop=stack.has_moved,
    )
    if stack.has_moved():
        stack.follow()
