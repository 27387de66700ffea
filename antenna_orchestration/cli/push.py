"""`antenna push`: send a project's images to a processing service, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from antenna_orchestration.cli import output


def push(
    service: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Address of the service, under which /info and /process are found.", show_default=False
        ),
    ],
    *,
    project: Annotated[str, typer.Option(metavar="SLUG", help="Project whose jobs to send.")] = "default",
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Images per request.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=100, help="Requests at the same time.")] = 1,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Longest wait for the answer to a request.",
            show_default="a third of ANTENNA_HTTP_LEASE",
        ),
    ] = None,
    exit_when_idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Stop after this long without work.", show_default="never"),
    ] = None,
) -> None:
    """Send images to an HTTP service and store its results.

    The service must answer /info, /process, and /readyz or /livez; if it cannot be reached, the command waits for it.
    The service's pipelines are registered for the project. Then the project's jobs that were submitted for these
    pipelines with --dispatch-mode sync_api are sent to it. After Ctrl-C or SIGTERM the command finishes the requests it
    has sent and hands back the rest; after a second one it stops at once.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.cli import joined
    from antenna_orchestration.push import main
    from antenna_orchestration.push.options import PushOptions

    settings = settings_module.get()
    output.show_own_logs(settings.log_level)
    options = PushOptions(
        service=service,
        project=project,
        batch_size=batch_size,
        parallel=parallel,
        timeout=timeout,
        exit_when_idle=exit_when_idle,
    )
    stack = joined.JoinedStack(settings, "nats_url", "redis_url", "database_url")
    summary = main.run(settings, options, should_stop=stack.has_moved)
    output.line(f"push worker {output.farewell(summary)}")
    if stack.has_moved():
        stack.follow()
