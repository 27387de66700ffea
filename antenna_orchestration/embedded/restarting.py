"""Keeps one process running: starts it, checks that it is healthy, and restarts it when it ends."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from antenna_orchestration import errors
from antenna_orchestration.embedded import ports, processes
from antenna_orchestration.embedded.children import Child, Children
from antenna_orchestration.embedded.events import Event, Kind
from antenna_orchestration.embedded.servers import Server

START_TIMEOUT = 180.0
"""Seconds within which a process has to become healthy; long, since PostgreSQL may have to replay its log."""
BACK_OFF = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds before each restart; after the last one the supervisor gives up on the process."""
FORGIVEN_AFTER = 120.0
"""Seconds that a process must run until its earlier ends no longer count."""
_POLL = 0.05


_STRANGERS_LEAVE = 3
"""So often a start is tried on a port that another program has; it may be a connection that passes."""


class PortTaken(errors.InternalError):
    """Another program listens where a process of the stack has to."""


class Restarter:
    """Starts one server or Dagster process, and restarts it with a back-off whenever it ends."""

    def __init__(
        self, *, server: Server, children: Children, report: Callable[[Event], None], quiet: float = START_TIMEOUT
    ) -> None:
        """`quiet`: seconds after which it is said what a start waits for, and again after thrice as many."""
        self.server = server
        self._quiet = quiet
        self._children = children
        self._report = report
        self.child: Child | None = None

    async def start(self) -> None:
        """Start the process and wait until it is healthy. Raises `InternalError`, of which `PortTaken`."""
        self._check_port()
        self.server.prepare()
        self.child = self._children.spawn(self.server.command())
        await self._until_healthy(self.child)
        self.server.settle()
        where = f" on 127.0.0.1:{self.server.port}" if self.server.port else ""
        self._say("started", f"{self.server.name} runs{where} (pid {self.child.pid})")

    async def keep_running(self) -> None:
        """Restart the process whenever it ends. Never returns.

        Raises `PortTaken` when its port does not become free, and `InternalError` after the last restart failed.
        """
        ends = strangers = 0
        while self.child is not None:
            started = time.monotonic()
            await self.child.ended.wait()
            if time.monotonic() - started > FORGIVEN_AFTER:
                ends = strangers = 0
            self._say("problem", f"{self.server.name} ended ({self.child.epitaph}), starting it again")
            while True:
                if ends == len(BACK_OFF):
                    log = self.child.command.log
                    raise errors.InternalError(
                        f"{self.server.name} ended {ends + 1} times, {self.child.epitaph} (log: {log})"
                    )
                await asyncio.sleep(BACK_OFF[ends])
                ends += 1
                try:
                    await self.start()
                except PortTaken as error:
                    strangers += 1
                    if strangers == _STRANGERS_LEAVE:
                        raise
                    self._say("problem", f"{error}, trying again")
                except errors.InternalError as error:
                    self._say("problem", f"{error}, trying again")
                else:
                    break

    async def stop(self, *, patience: float) -> None:
        """Ask the process to stop, and kill it after `patience` seconds. Cancel `keep_running` first."""
        if self.child is not None and not await self.child.leave(patience=patience):
            self._say("problem", f"{self.server.name} did not stop within {patience:g} s and was killed")

    async def _until_healthy(self, child: Child) -> None:
        deadline, told = time.monotonic() + START_TIMEOUT, time.monotonic() + self._quiet
        while True:
            complaint = self._complaint(child)
            if complaint is None:
                return
            if child.ended.is_set():
                self._check_port()
                raise errors.InternalError(
                    f"{self.server.name} did not start, {child.epitaph} (log: {child.command.log})"
                )
            if time.monotonic() > deadline:
                child.signal(signal.SIGKILL)
                raise errors.InternalError(
                    f"{self.server.name} is not healthy after {START_TIMEOUT:.0f} s: {complaint}"
                )
            if time.monotonic() > told:
                self._say("problem", f"waiting for {self.server.name}: {complaint}")
                told = time.monotonic() + 3 * self._quiet
            await asyncio.sleep(_POLL)

    def _check_port(self) -> None:
        port = self.server.port
        if port and not ports.is_free(port):
            raise PortTaken(f"port {port}, where {self.server.name} listens, is taken by {processes.listener(port)}")

    def _complaint(self, child: Child) -> str | None:
        try:
            self.server.check()
        except errors.Unavailable as error:
            return str(error)
        if self.server.port and not processes.listens(child.pid, self.server.port):
            return f"another process listens on port {self.server.port}"
        return None

    def _say(self, kind: Kind, text: str) -> None:
        self._report(Event(kind=kind, text=text, process=self.server.name))
