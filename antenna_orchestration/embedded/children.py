"""All child processes of the supervisor: started, watched and reaped in one place."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping

import psutil

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes


class Child:
    """A process that the supervisor started, and how it ended."""

    def __init__(self, command: processes.Command, process: subprocess.Popen[bytes]) -> None:
        self.command = command
        self.pid = process.pid
        self.ended = asyncio.Event()
        self._process = process

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def epitaph(self) -> str:
        """How the process ended, for messages."""
        if self.status is not None and self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}: {processes.last_line(self.command.log)}"

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal. Not through `Popen`, which may reap the process behind our back."""
        if not self.ended.is_set():
            os.kill(self.pid, number)

    async def leave(self, *, patience: float) -> bool:
        """Ask the process to stop, and kill it after `patience` seconds; returns whether asking was enough."""
        self.signal(self.command.stop_signal)
        try:
            async with asyncio.timeout(patience):
                await self.ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()
            return False
        return True

    def reap(self) -> None:
        """Collect its exit status; only when it is dead."""
        self._process.wait()
        self.ended.set()


class Children:
    """The supervisor's children. It is single-threaded: the code that runs between fork and exec relies on that.

    Orphans of our descendants become our children (we are their subreaper) and are reaped here too.
    """

    def __init__(self, mark: Mapping[str, str]) -> None:
        self._mark = dict(mark)
        self._running: dict[int, Child] = {}

    def listen(self) -> None:
        """Reap from now on. Call in the running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(self, command: processes.Command) -> Child:
        """Start a process. Raises `InternalError`."""
        child = Child(command, processes.spawn(command, mark=self._mark))
        self._running[child.pid] = child
        return child

    async def run(self, command: processes.Command, *, timeout: float) -> None:
        """Start a process that ends by itself, and wait.

        Raises an error with its last line when it fails: `Unavailable` if that is what it ended of, `InternalError`.
        """
        child = self.spawn(command)
        try:
            async with asyncio.timeout(timeout):
                await child.ended.wait()
        except TimeoutError:
            raise errors.InternalError(
                f"{command.name} did not finish within {timeout:.0f} s: see {command.log}"
            ) from None
        finally:
            child.signal(signal.SIGKILL)
        if child.status:
            kind = errors.Unavailable if child.status == errors.Unavailable.exit_code else errors.InternalError
            raise kind(f"{processes.last_line(command.log)} (log: {command.log})")

    def strangers(self) -> list[psutil.Process]:
        """Children that we did not start: orphaned descendants, which the kernel made our children."""
        return [process for process in psutil.Process().children() if process.pid not in self._running]

    def _reap(self) -> None:
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            child = self._running.pop(dead.si_pid, None)
            if child is None:
                os.waitpid(dead.si_pid, 0)
            else:
                child.reap()
