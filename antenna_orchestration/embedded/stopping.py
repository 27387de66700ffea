"""The end of a stack, in order, so that nobody's job is canceled by it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes
from antenna_orchestration.embedded.children import Children
from antenna_orchestration.embedded.dagster_processes import CODE_SERVER
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.restarting import Restarter


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds that each group has to leave by itself."""

    daemon: float
    runs: float
    servers: float
    stores: float


ORDERED = Patience(daemon=5, runs=20, servers=5, stores=10)
AT_ONCE = Patience(daemon=0.5, runs=2, servers=0.5, stores=5)
"""Nobody is there any more to wait for us."""


async def stop(
    restarters: dict[str, Restarter],
    *,
    home: Home,
    stack: str,
    children: Children,
    patience: Patience,
    report: Callable[[str], None],
) -> None:
    """End everything. Runs leave before the code server, which would wait for them; stores last, they need them."""
    # Collectors read it: a run that is interrupted now leaves its job RUNNING, and the next start takes it up again.
    with contextlib.suppress(OSError):  # somebody deleted the home under us
        home.stopping_file.touch()
    await _leave(restarters, ("daemon",), patience.daemon)
    await _end_runs(restarters, children, patience.runs, report)
    await _leave(restarters, ("webserver", "code-server", "gateway"), patience.servers)
    # What the runs started themselves, loaders and log readers.
    _sweep(lambda: _descendants_of_dagster(restarters, stack), report)
    await _leave(restarters, ("postgres", "redis", "nats"), patience.stores)
    _sweep(lambda: processes.marked(processes.STACK_VARIABLE, stack), report)


async def _leave(restarters: dict[str, Restarter], names: tuple[str, ...], patience: float) -> None:
    await asyncio.gather(*(restarters[name].stop(patience=patience) for name in names if name in restarters))


async def _end_runs(
    restarters: dict[str, Restarter], children: Children, patience: float, report: Callable[[str], None]
) -> None:
    runs = _runs(restarters, children)
    if not runs:
        return
    report(f"asking {len(runs)} active run{'s' if len(runs) > 1 else ''} to leave")
    for run in runs:
        _signal(run, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while runs := [run for run in runs if not processes.is_zombie(run)]:
        if time.monotonic() > deadline:
            report(f"{len(runs)} run{'s' if len(runs) > 1 else ''} did not leave within {patience:.0f} s, killed")
            for run in runs:
                _signal(run, signal.SIGKILL)
            return
        await asyncio.sleep(0.05)


def _runs(restarters: dict[str, Restarter], children: Children) -> list[psutil.Process]:
    """Processes of Dagster runs, below the code server and as orphans of one that crashed."""
    restarter = restarters.get("code-server")
    runs: list[psutil.Process] = []
    if restarter is not None and restarter.child is not None and not restarter.child.ended.is_set():
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(restarter.child.pid).children():
                runs += _copies(child) if _is_copy(child) else _spawned(child)
    for orphan in children.strangers():
        runs += (_copies(orphan) or [orphan]) if _is_copy(orphan) else _spawned(orphan)
    return runs


def _copies(fork_server: psutil.Process) -> list[psutil.Process]:
    try:
        return [child for child in fork_server.children() if _is_copy(child)]
    except psutil.Error:
        return []


def _is_copy(process: psutil.Process) -> bool:
    """Whether it is a fork server or was forked from one: it keeps the command line; a run's helpers have others."""
    line = _command_line(process)
    # The code server's, or that of the fork server that multiprocessing started when the first had died.
    return CODE_SERVER in line or "multiprocessing.forkserver" in line


def _spawned(process: psutil.Process) -> list[psutil.Process]:
    """The process, if it is a run that the code server could not have forked."""
    return [process] if "multiprocessing.spawn" in _command_line(process) else []


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _descendants_of_dagster(restarters: dict[str, Restarter], stack: str) -> list[psutil.Process]:
    kept = {restarter.child.pid for restarter in restarters.values() if restarter.child is not None}
    # PostgreSQL's own children are its business.
    return [each for each in processes.marked(processes.STACK_VARIABLE, stack) if not _belongs_to(each, kept)]


def _belongs_to(process: psutil.Process, kept: set[int]) -> bool:
    try:
        return process.pid in kept or process.ppid() in kept
    except psutil.NoSuchProcess:
        return True


def _sweep(find: Callable[[], list[psutil.Process]], report: Callable[[str], None]) -> None:
    try:
        processes.kill_until_gone(find)
    except errors.InternalError as error:
        report(str(error))


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
