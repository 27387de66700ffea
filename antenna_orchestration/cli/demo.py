"""`antenna demo`: from nothing to a finished job, on photographs that the project draws itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.cli.job_view import JobView
    from antenna_orchestration.processing.services import Services
    from antenna_orchestration.settings import Settings

_PROJECT = "demo"

_WORKER_IDLE = 15
"""Seconds without work after which a worker of the demo's own leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of the demo's job."""

    view: JobView
    # Insects that were drawn, those found among them, and detections that are none of them.
    drawn: int
    found: int
    extra: int
    # Images per second from the first result to the last.
    rate: float

    @property
    def is_complete(self) -> bool:
        """Whether every image is accounted for and the job succeeded."""
        progress = self.view.progress
        return self.view.job.status == "SUCCESS" and progress.accounted == progress.total > 0


def demo(
    images: Annotated[int, typer.Option(min=1, max=10_000, help="Number of photographs to draw.")] = 40,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Try everything out on drawn photographs; needs no data.

    Draws photographs of insects, processes them and compares the result with what was drawn. Starts this folder's stack
    if it is not running, and stops it at the end. Downloads nothing. The exit code is 0 only if the job succeeds and
    every image is accounted for.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.embedded import stack
    from antenna_orchestration.pipelines import torch_installed
    from antenna_orchestration.synthetic import captures

    settings = settings_module.load()
    if stack.status(settings.home) is None:
        # No worker from elsewhere reaches a stack that is started here.
        torch_installed.check()
    folder = settings.home / "demo" / f"{images}-images"
    if settings.image_roots:
        # Workers started from here read nothing else.
        os.environ["ANTENNA_IMAGE_ROOTS"] = ":".join(map(str, (*settings.image_roots, folder)))
        settings = settings_module.load()
    # Servers start and photographs are drawn at the same time.
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        drawing_done = pool.submit(captures.write_samples, folder, images)
        with _stack(settings) as ui:
            output.note(f"drawing {counted(images, 'photograph')} in {folder}")
            drawing_done.result()
            outcome = asyncio.run(_process(settings_module.load(), folder))
    if json_:
        output.as_json(_as_dict(outcome))
    else:
        _report(outcome, folder, ui)
    raise typer.Exit(0 if outcome.is_complete else 1)


@contextmanager
def _stack(settings: Settings) -> Iterator[str]:
    """The home's running stack, or one of our own for the length of the block; the address of its UI if it stays."""
    from antenna_orchestration.embedded import stack

    running = stack.status(settings.home)
    if running is not None:
        if not running.ready:
            raise errors.Unavailable(f"the stack in {settings.home} is starting or stopping; try again in a moment")
        output.note(f"using the stack that runs in {settings.home}")
        yield running.ui
        return
    output.note(f"starting servers and Dagster in {settings.home}")
    with stack.start_background(settings, on_event=_show):
        yield ""
        output.note("stopping the servers")


def _show(event: Any) -> None:
    if event.kind in ("started", "ready"):
        output.note(f"  {event.text}")
    elif event.kind in ("problem", "failed"):
        output.warn(event.text)


async def _process(settings: Settings, folder: Path) -> Outcome:
    """Submit, wait, and compare with what was drawn."""
    from antenna_orchestration.answers import deployments
    from antenna_orchestration.cli import demo_score, watching
    from antenna_orchestration.processing import services as services_module
    from antenna_orchestration.processing import submit as verb

    async with services_module.opened(settings, max_connections=2) as services:
        # The times in the names of drawn photographs are UTC.
        await deployments.import_objects(services, _PROJECT, [{"deployment": "drawn trap", "timezone": "UTC"}])
        submission = verb.Submission(
            sources=(str(folder),), project=_PROJECT, name="demo", reprocess=True, deployment="drawn trap"
        )
        submitted = await verb.submit(services, submission, allowed_roots=[folder])
        for warning in submitted.warnings:
            output.warn(warning)
        output.note(f"job {submitted.job_id}: {counted(submitted.total, 'photograph')}, pipeline {submitted.pipeline}")
        with _worker_if_needed(settings), watching.display() as shown:
            view = await watching.follow(services, submitted.job_id, shown)
        score = await asyncio.to_thread(demo_score.compare, services.lake, submitted.job_id, folder / "truth.json")
        rate = await _rate(services, view)
        return Outcome(view=view, drawn=score.drawn, found=score.found, extra=score.extra, rate=rate)


async def _rate(services: Services, view: JobView) -> float:
    """Images per second while images were processed, without the start of run and worker."""
    times = [
        row["finished_at"]
        async for rows in services.catalog.images.manifest(view.job.job_id)
        for row in rows
        if row["finished_at"] is not None
    ]
    seconds = (max(times) - min(times)).total_seconds() if times else 0.0
    return (len(times) - 1) / seconds if seconds else 0.0


@contextmanager
def _worker_if_needed(settings: Settings) -> Iterator[None]:
    """A worker of our own when the stack starts none by itself."""
    if settings.autoscale and settings.autoscale_max_workers:
        yield
        return
    command = [sys.executable, "-m", "antenna_orchestration.cli.main", "worker", "--exit-when-idle", str(_WORKER_IDLE)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {
        **outcome.view.as_dict(),
        "images_per_s": round(outcome.rate, 2),
        "insects_drawn": outcome.drawn,
        "insects_found": outcome.found,
        "extra_detections": outcome.extra,
        "complete": outcome.is_complete,
    }


def _report(outcome: Outcome, folder: Path, ui: str) -> None:
    progress = outcome.view.progress
    share = f"{outcome.found / outcome.drawn:.0%}" if outcome.drawn else "-"
    rows = {
        "status": str(outcome.view.job.status),
        "images": f"{progress.done} of {progress.total}",
        "failed": progress.failed,
        "detections": progress.detections,
        "classifications": progress.classifications,
        "insects drawn": outcome.drawn,
        "insects found": f"{outcome.found} ({share})",
        "extra detections": outcome.extra,
        "seconds": f"{outcome.view.elapsed_s:.0f}, with the start of run and worker",
        "images/s": f"{outcome.rate:.1f}",
    }
    console = output.console()
    console.print()
    output.show_pairs(rows)
    console.print()
    lake = outcome.view.lake
    job = outcome.view.job.job_id
    open_ui = f"open {ui}" if ui else "run `antenna up` and open the address that it prints"
    output.line(f"photographs  {folder}")
    output.line(f"Parquet      {lake}/{{captures,detections,classifications,failed_images}}/job_id={job}")
    output.line("             import pandas as pd")
    output.line(f"             pd.read_parquet('{lake}/classifications').groupby(['job_id', 'label']).size()")
    output.line(f"UI           {open_ui}: job {job} is partition job-{job} of the assets")
    if not outcome.is_complete:
        output.note(f"antenna: error: {outcome.view.summary}")
