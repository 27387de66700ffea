"""Following a job until it is over: a bar on a terminal, a line every few seconds anywhere else, always on stderr."""

from __future__ import annotations

import asyncio
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from antenna_orchestration import errors
from antenna_orchestration.cli import job_view, output
from antenna_orchestration.cli.job_view import JobView
from antenna_orchestration.domain import terminal
from antenna_orchestration.processing import loops

if TYPE_CHECKING:
    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.processing.services import Services

_EVERY: Final = 0.5
"""Seconds between two reads of a job."""

_LINE_EVERY: Final = 5.0
"""Seconds between lines where there is no terminal."""

_PATIENCE: Final = 60.0
"""Seconds that a server may be unreachable before watching ends; the job itself continues."""


class Display(Protocol):
    """Shows one job's progress. Use it as a context manager."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, view: JobView) -> None:
        """The job as it is now."""

    def say(self, text: str) -> None:
        """A line that stays."""


def display() -> Display:
    """A bar when stderr is a terminal, lines otherwise."""
    return _Bar() if sys.stderr.isatty() else _Lines()


async def follow(services: Services, job_id: JobId, shown: Display) -> JobView:
    """Show the job, and warnings of its log, until it is over; its last state.

    Raises `NotFound`, and `Unavailable` when the servers stay away for a minute.
    """
    from antenna_orchestration.processing.job_log import WORKER_COMES

    seen = 0
    reached = time.monotonic()
    while True:
        try:
            view = await job_view.read_view(services, await services.catalog.jobs.get(job_id))
            for log_id, entry in await services.catalog.job_log.read(job_id, after=seen):
                seen = log_id
                if entry.action == WORKER_COMES:
                    shown.say(f"{output.clock(entry.at)} {entry.message}")
                elif entry.level != "INFO" and entry.action not in ("submitted", "finished"):
                    shown.say(f"{output.clock(entry.at)} {entry.level} {entry.message}")
        except errors.Unavailable as error:
            if time.monotonic() - reached > _PATIENCE:
                raise
            shown.say(f"{error}; retrying; the job continues")
        else:
            reached = time.monotonic()
            shown.show(view)
            if view.job.status.is_terminal:
                return view
        loops.raise_if_cancelled()
        await asyncio.sleep(_EVERY)


class _Lines:
    """A line when something changed, every few seconds."""

    def __init__(self) -> None:
        self._last = ""
        self._at = float("-inf")

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, view: JobView) -> None:
        due = time.monotonic() - self._at >= _LINE_EVERY or view.job.status.is_terminal
        if due and view.line != self._last:
            self._last, self._at = view.line, time.monotonic()
            output.note(view.line)

    def say(self, text: str) -> None:
        output.note(text)


class _Bar:
    """A progress bar of rich."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[line]}", markup=False),
            console=output.console(to_stderr=True),
        )
        self._task = self._bar.add_task("", total=None, line="")

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, view: JobView) -> None:
        self._bar.update(
            self._task,
            description=f"job {view.job.job_id} {view.job.status}",
            # A bar without images is full, not on its way.
            total=view.progress.total or 1,
            completed=view.progress.accounted if view.progress.total else 1,
            line=terminal.line(view.progress.line),
        )

    def say(self, text: str) -> None:
        self._bar.console.print(terminal.line(text), markup=False)
