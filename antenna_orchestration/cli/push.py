"""`antenna push`: send a project's images to a processing service, in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from antenna_orchestration.cli import output


def push(
    service: Annotated[
        str,
        typer.Argument(metavar="URL", help="Where the service's /info and /process lie.", show_default=False),
    ],
    *,
    project: Annotated[str, typer.Option(metavar="SLUG", help="Whose jobs to send.")] = "default",
    batch_size: Annotated[int, typer.Option(min=1, max=1000, help="Images of a post.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=100, help="Posts at the same time.")] = 1,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="For a post.", show_default="a third of ANTENNA_HTTP_LEASE"),
    ] = None,
    exit_when_idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Leave after so long without work.", show_default="stay"),
    ] = None,
) -> None:
    """Send images to a processing service, take its results.

    The service speaks /info, /readyz or /livez, and /process. Registers its pipelines for the project, and serves the
    project's jobs of these pipelines that were submitted with --dispatch-mode sync_api. Waits for a service that is not
    there. SIGTERM and Ctrl-C let it finish what is posted and hand back the rest; a second one makes it leave at once.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.push import main

    settings = settings_module.get()
    output.show_own_logs(settings.log_level)
    options = main.PushOptions(
        service=service,
        project=project,
        batch_size=batch_size,
        parallel=parallel,
        timeout=timeout,
        exit_when_idle=exit_when_idle,
    )
    summary = main.run(settings, options)
    output.line(f"push worker {output.farewell(summary)}")
