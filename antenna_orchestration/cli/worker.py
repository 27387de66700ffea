"""`antenna worker`: run a worker in the foreground. It needs the queue and the images, neither database nor Dagster."""

from __future__ import annotations

import asyncio
import sys
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
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Serve Prometheus metrics; 0 takes any port.", show_default="none"
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(metavar="all|0,1", help="A worker for each of these GPUs.", show_default="one worker"),
    ] = None,
) -> None:
    """Process images: lease tasks, infer, publish results.

    SIGTERM and Ctrl-C let it finish what it is at and hand back the rest; a second one makes it leave at once.
    """
    from antenna_orchestration import errors
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.worker import main as engine

    settings = settings_module.get()
    if gpus is not None:
        if device is not None:
            raise errors.InvalidSetting("--gpus and --device exclude each other: --gpus starts a worker for each GPU")
        shared: dict[str, object] = {
            "--pipelines": pipelines,
            "--batch-size": batch_size,
            "--exit-when-idle": exit_when_idle,
            "--max-lifetime": max_lifetime,
        }
        raise typer.Exit(_on_each(gpus, name, metrics_port, shared))
    output.show_own_logs(settings.log_level)
    options = engine.WorkerOptions(
        pipelines=tuple(part.strip() for part in (pipelines or "").split(",") if part.strip()),
        device=_device(device),
        batch_size=batch_size,
        exit_when_idle=exit_when_idle,
        max_lifetime=max_lifetime,
        name=name,
        metrics_port=metrics_port,
    )
    summary = engine.run(settings, options)
    output.line(f"worker {output.farewell(summary)}")


def _on_each(gpus: str, name: str | None, metrics_port: int | None, shared: dict[str, object]) -> int:
    """Run this command once for each GPU, with names and ports that differ; the exit code."""
    from antenna_orchestration.worker import fleet

    commands = []
    for number, device in enumerate(fleet.gpus(gpus)):
        own = {
            **shared,
            "--device": device,
            "--name": None if name is None else f"{name}-{number}",
            "--metrics-port": metrics_port and metrics_port + number,
        }
        words = [word for option, value in own.items() if value is not None for word in (option, str(value))]
        commands.append([sys.executable, "-m", "antenna_orchestration.cli.main", "worker", *words])
    return asyncio.run(fleet.run(commands))


def _device(text: str | None) -> str | None:
    """Check a device as the setting of that name is checked. Raises `InvalidSetting`."""
    from antenna_orchestration import settings as settings_module

    return None if text is None else settings_module.load(device=text).device
