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
        str | None, typer.Option(help="Where models run: auto, cpu, cuda or cuda:N.", show_default="ANTENNA_DEVICE")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per inference batch.", show_default="ANTENNA_BATCH_SIZE")
    ] = None,
    exit_when_idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Stop after this long without work.", show_default="never"),
    ] = None,
    max_lifetime: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, help="Stop after this long, once begun tasks are done.", show_default="never"
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name that no other worker has.", show_default="from host and process id")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve Prometheus metrics on this port; 0: any free one.",
            show_default="none",
        ),
    ] = None,
    pull: Annotated[
        bool,
        typer.Option(
            "--pull", help="Fetch pipelines that jobs need from the lake, and run them; for projects that allow it."
        ),
    ] = False,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="all|0,1",
            help="Start one worker per GPU: all, or the ones with these numbers or UUIDs.",
            show_default="one worker",
        ),
    ] = None,
) -> None:
    """Process the images of waiting jobs on this machine.

    After Ctrl-C or SIGTERM the worker finishes the images it has begun and hands back the rest; after a second one it
    stops at once.
    """
    from antenna_orchestration import errors
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.cli import joined
    from antenna_orchestration.pipelines import torch_installed
    from antenna_orchestration.worker import main as engine
    from antenna_orchestration.worker.options import WorkerOptions

    settings = settings_module.get()
    if not pipelines:
        torch_installed.check()
    if gpus is not None:
        if device is not None:
            raise errors.InvalidSetting(
                "--gpus and --device exclude each other: name only one (--gpus starts one worker per GPU)"
            )
        shared: dict[str, object] = {
            "--pipelines": pipelines,
            "--batch-size": batch_size,
            "--exit-when-idle": exit_when_idle,
            "--max-lifetime": max_lifetime,
        }
        flags = ("--pull",) if pull else ()
        raise typer.Exit(_on_each(gpus, name, metrics_port, shared, flags))
    output.show_own_logs(settings.log_level)
    options = WorkerOptions(
        pipelines=tuple(part.strip() for part in (pipelines or "").split(",") if part.strip()),
        device=_device(device),
        batch_size=batch_size,
        exit_when_idle=exit_when_idle,
        max_lifetime=max_lifetime,
        name=name,
        metrics_port=metrics_port,
        pull=pull,
    )
    stack = joined.JoinedStack(settings, "worker_nats_url" if settings.worker_nats_url else "nats_url")
    summary = engine.run(settings, options, should_stop=stack.has_moved, heed_signals=True)
    output.line(f"worker {output.farewell(summary)}")
    if stack.has_moved():
        stack.follow()


def _on_each(
    gpus: str, name: str | None, metrics_port: int | None, shared: dict[str, object], flags: tuple[str, ...]
) -> int:
    """Run this command once per GPU, each with its own name and port; returns the exit code."""
    from antenna_orchestration import kernel
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.worker import fleet

    commands = []
    for number, gpu in enumerate(fleet.gpus(gpus)):
        own = {
            **shared,
            "--device": gpu.device,
            "--name": None if name is None else f"{name}-{number}",
            "--metrics-port": metrics_port and metrics_port + number,
        }
        words = [word for option, value in own.items() if value is not None for word in (option, str(value))]
        commands.append([*gpu.prefix, sys.executable, "-m", "antenna_orchestration.cli.main", "worker", *words, *flags])
    wanted = settings_module.get().worker_threads
    threads = fleet.threads_each(len(commands), wanted=wanted, cpus=kernel.usable_cpus())
    return asyncio.run(fleet.run(commands, environment={"ANTENNA_WORKER_THREADS": str(threads)}))


def _device(text: str | None) -> str | None:
    """Validate a device as `ANTENNA_DEVICE` is validated. Raises `InvalidSetting`."""
    from antenna_orchestration import settings as settings_module

    return None if text is None else settings_module.load(device=text).device
