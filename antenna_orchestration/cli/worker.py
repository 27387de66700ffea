"""`antenna worker`: run a worker in the foreground. It needs the queue and the images, neither database nor Dagster."""

from __future__ import annotations

from typing import Annotated

import typer

from antenna_orchestration.cli import output


def worker(
    *,
    pipelines: Annotated[
        str | None, typer.Option(metavar="A,B", help="Serve only these pipelines.", show_default="all")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="ANTENNA_DEVICE")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per inference batch.", show_default="ANTENNA_BATCH_SIZE")
    ] = None,
    exit_when_idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Leave after so long without work.", show_default="stay"),
    ] = None,
    max_lifetime: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Leave, drained, after so long.", show_default="stay")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name among all workers.", show_default="made of host and process")
    ] = None,
) -> None:
    """Process images: lease tasks, infer, publish results.

    SIGTERM and Ctrl-C let it finish what it is at and hand back the rest; a second one makes it leave at once.
    """
    from antenna_orchestration import settings
    from antenna_orchestration.worker import main as engine

    current = settings.get()
    output.show_own_logs(current.log_level)
    options = engine.WorkerOptions(
        pipelines=tuple(part.strip() for part in (pipelines or "").split(",") if part.strip()),
        device=_device(device),
        batch_size=batch_size,
        exit_when_idle=exit_when_idle,
        max_lifetime=max_lifetime,
        name=name,
    )
    summary = engine.run(current, options)
    output.line(
        f"worker {summary.worker} left ({summary.reason}): {summary.done} done, {summary.failed} failed, "
        f"{summary.handed_back} handed back"
    )


def _device(text: str | None) -> str | None:
    """Check a device as the setting of that name is checked. Raises `InvalidSetting`."""
    from antenna_orchestration import settings

    return None if text is None else settings.load(device=text).device
