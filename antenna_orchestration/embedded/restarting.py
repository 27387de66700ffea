"""Keeps one process running: starts it, checks that it is healthy, and restarts it when it ends or is ill.

Ill is a server that answers and says that it can no longer do its work. One that does not answer is slow, or stopped,
or about to end: restarting it would make a busy machine busier.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from antenna_orchestration import errors
from antenna_orchestration.domain.backoff import OF_RESTARTS
from antenna_orchestration.embedded import disk, ports, processes
from antenna_orchestration.embedded.children import Child, Children
from antenna_orchestration.embedded.events import Event, Kind
from antenna_orchestration.embedded.servers import Recovering, Server

START_TIMEOUT = 180.0
"""Seconds within which a process has to become healthy, not counting those in which it says that it recovers."""
FORGIVEN_AFTER = 120.0
"""Seconds that a process must run until its earlier ends no longer count."""
LOOK_EVERY = 5.0
"""Seconds between two looks at whether a process is ill."""
ILL_LOOKS = 3
"""Looks in a row that find a process ill, after which it is restarted."""
ILL_AGAIN_AFTER = 60.0
"""Seconds between two restarts of one that a restart does not mend: meanwhile, what works of it goes on."""
RESTART_PATIENCE = 10.0
"""Seconds that an ill process has to leave by itself."""
_POLL = 0.05
_ROOM_POLL = 1.0


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
        # Until when it is not restarted for being ill.
        self._well_until = 0.0

    async def start(self) -> None:
        """Start the process and wait until it is healthy. Raises `InternalError`, of which `PortTaken`."""
        self._check_port()
        try:
            self.server.prepare()
        except OSError as error:
            raise errors.InternalError(f"{self.server.name} cannot be prepared: {error}") from error
        self.child = self._children.spawn(self.server.command())
        await self._until_healthy(self.child)
        where = f" on 127.0.0.1:{self.server.port}" if self.server.port else ""
        self._say("started", f"{self.server.name} runs{where} (pid {self.child.pid})")

    async def keep_running(self) -> None:
        """Restart the process whenever it ends. Never returns.

        Raises `PortTaken` when its port does not become free, and `InternalError` after the last restart failed.
        """
        ends = strangers = 0
        while self.child is not None:
            started = time.monotonic()
            await self._until_over(self.child)
            if time.monotonic() - started > FORGIVEN_AFTER:
                ends = strangers = 0
            self._say("problem", f"{self.server.name} ended ({self.child.epitaph}), starting it again")
            while True:
                if ends == len(OF_RESTARTS):
                    log = self.child.command.log
                    raise errors.InternalError(
                        f"{self.server.name} ended {ends + 1} times, {self.child.epitaph} (log: {log})"
                    )
                if await self._waited_for_room(self.child):
                    # It will have ended for that reason, and no attempt was in vain.
                    ends = 0
                await asyncio.sleep(OF_RESTARTS[ends])
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

    async def _until_over(self, child: Child) -> None:
        """Wait for the process' end, and bring it about when the process is ill."""
        looks = 0
        while not child.ended.is_set():
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await child.ended.wait()
            except TimeoutError:
                ailment = self._ailment()
                looks = looks + 1 if ailment else 0
                if looks >= ILL_LOOKS and time.monotonic() >= self._well_until:
                    self._well_until = time.monotonic() + ILL_AGAIN_AFTER
                    self._say("problem", f"{self.server.name} is ill ({ailment}), restarting it")
                    await child.leave(patience=RESTART_PATIENCE)

    def _ailment(self) -> str | None:
        try:
            return self.server.ailment()
        except errors.Unavailable:
            return None

    async def _waited_for_room(self, child: Child) -> bool:
        """Wait until the process' disk has room; whether it had none."""
        folders = (child.command.folder, child.command.log.parent)
        if not disk.is_full(*folders):
            return False
        self._say("problem", f"{self.server.name} waits for room on the disk of {' and '.join(map(str, folders))}")
        while disk.is_full(*folders):  # noqa: ASYNC110 - nobody tells us of room
            await asyncio.sleep(_ROOM_POLL)
        return True

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
            if isinstance(complaint, Recovering):
                deadline = time.monotonic() + START_TIMEOUT
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

    def _complaint(self, child: Child) -> errors.Unavailable | None:
        try:
            self.server.check()
            if self.server.port and not processes.listens(child.pid, self.server.port):
                return errors.Unavailable(f"another process listens on port {self.server.port}")
            self.server.set_up()
        except errors.Unavailable as error:
            return error
        return None

    def _say(self, kind: Kind, text: str) -> None:
        self._report(Event(kind=kind, text=text, process=self.server.name))
