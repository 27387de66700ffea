"""Several gateway processes on one port: this process holds the port, and keeps the others running.

They share nothing but the port: each has a listening socket of its own, over which the kernel spreads new connections
evenly (of one socket, the first process that wakes takes all that wait). Each has connections to the stores, and a
memory, of its own, like gateways on several machines.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from typing import Final

from antenna_orchestration import kernel
from antenna_orchestration.domain.backoff import OF_RESTARTS

logger = logging.getLogger(__name__)

ASK_EVERY: Final = 0.5
"""Seconds between two questions whether to stop."""

FORGIVEN_AFTER: Final = 60.0
"""Seconds that a process must run until its earlier ends no longer count."""

BACKLOG: Final = 2048
"""Connections that wait until a process takes them."""

CANNOT_START: Final = 3
"""Exit code of a gateway whose start failed, as uvicorn's own command has it."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Serve = Callable[[socket.socket], None]


class _Place:
    """One of the processes, and those that follow it when it ends."""

    def __init__(self, serve: Serve, host: str, port: int) -> None:
        self._serve = serve
        self._address = (host, port)
        self._ends = 0
        self._began = 0.0
        self._start_at = 0.0
        self.process: ForkProcess | None = None
        # Open here, too: so this process is known as the one that has the port.
        self.listener: socket.socket | None = None

    def start_if_due(self, others: Iterable[_Place]) -> None:
        if self.process is not None or time.monotonic() < self._start_at:
            return
        self._began = time.monotonic()
        try:
            self.listener = _listen(*self._address, shared=True)
        except OSError as error:
            # When none was left, another program may have taken the port.
            logger.error("cannot listen on %s, port %d, trying again in %g s: %s", *self._address, self._rest(), error)
            return
        not_its = [each.listener for each in others if each is not self and each.listener is not None]
        # Forked, not started anew: what was imported is shared, and a new process serves at once. This process has
        # one thread and no connection.
        self.process = multiprocessing.get_context("fork").Process(
            target=_serve_here, args=(self._serve, self.listener, not_its, os.getpid()), name="gateway"
        )
        # A signal must meet either our handler or the new process' own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def bury_if_dead(self) -> int | None:
        """The exit code of a process that ended; its successor is due after a while."""
        if self.process is None or self.process.exitcode is None:
            return None
        code = self.process.exitcode
        how, pid = _how(code), self.process.pid
        logger.warning("gateway process %s ended (%s), starting another in %g s", pid, how, self._rest())
        self.process.close()
        self.process = None
        self.close()
        return code

    def _rest(self) -> float:
        """Seconds until the next start, which is due only then."""
        if time.monotonic() - self._began > FORGIVEN_AFTER:
            self._ends = 0
        rest = OF_RESTARTS[min(self._ends, len(OF_RESTARTS) - 1)]
        self._ends += 1
        self._start_at = time.monotonic() + rest
        return rest

    def close(self) -> None:
        """Listen no longer, so that no connection waits here for nobody."""
        if self.listener is not None:
            self.listener.close()
            self.listener = None


def run(
    serve: Serve, *, host: str, port: int, processes: int, should_stop: Callable[[], bool], leave_within: float
) -> None:
    """Run `serve` in so many processes until SIGTERM or SIGINT, or until `should_stop`; then let them leave in order.

    Call in the main thread, without other threads. A process that ends is replaced. Raises `SystemExit` when the port
    cannot be listened on, and when no process can start.
    """
    try:
        # A shared port is refused to nobody, not even to a second gateway.
        _listen(host, port, shared=False).close()
    except OSError as error:
        logger.error("cannot listen on %s, port %d: %s", host, port, error.strerror or error)
        sys.exit(CANNOT_START)
    kernel.keep_what_is_imported()
    places = [_Place(serve, host, port) for _ in range(processes)]
    with _told_to_stop() as told:
        try:
            while not told() and not should_stop():
                for place in places:
                    place.start_if_due(places)
                running = [place.process.sentinel for place in places if place.process is not None]
                connection.wait(running, timeout=ASK_EVERY)
                codes = [place.bury_if_dead() for place in places]
                # One that cannot start is tried again as long as another serves.
                if CANNOT_START in codes and all(place.process is None for place in places):
                    sys.exit(CANNOT_START)
        finally:
            # First, so that a client that connects now is refused and tries elsewhere, and not dropped.
            for place in places:
                place.close()
            _end([place.process for place in places if place.process is not None], leave_within)


def _listen(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)


def _end(running: list[ForkProcess], leave_within: float) -> None:
    for process in running:
        process.terminate()
    deadline = time.monotonic() + leave_within
    for process in running:
        process.join(max(deadline - time.monotonic(), 0))
        if process.exitcode is None:
            logger.warning("gateway process %s did not leave within %g s and is killed", process.pid, leave_within)
            process.kill()
            process.join()


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Within the block, SIGTERM and SIGINT only answer the question that is returned."""
    told: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: told.append(number)) for number in _SIGNALS}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _serve_here(serve: Serve, listener: socket.socket, not_ours: Iterable[socket.socket], parent: int) -> None:
    """The life of one of the processes."""
    for each in not_ours:
        each.close()
    # Whoever kills the process that holds the port does not mean to leave these behind on it.
    kernel.die_with_parent(parent, signal.SIGTERM)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    # The server raises the signal again that ended it; Ctrl-C reaches us, too.
    with contextlib.suppress(KeyboardInterrupt):
        serve(listener)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
