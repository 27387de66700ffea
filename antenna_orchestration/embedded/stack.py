"""The stack as a command sees it: run it in the foreground, in the background, or look at the one that runs.

The caller's process is the front. It holds the home's lock and the supervisor's pipe, and guards the supervisor: when
that is killed, whatever it had started lands here and is ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import psutil

from antenna_orchestration import errors, kernel
from antenna_orchestration import settings as settings_module
from antenna_orchestration.domain import proxies
from antenna_orchestration.embedded import dagster_processes, prepare, processes, supervisor
from antenna_orchestration.embedded.events import Event, from_line
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.supervisor import StackStatus

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_foreground(
    settings: settings_module.Settings,
    *,
    dagster: bool = True,
    on_event: Callable[[Event], None],
    definitions_module: str = dagster_processes.DEFINITIONS,
    prepare_hook: str = prepare.DEFAULT_HOOK,
) -> int:
    """Run the stack until SIGINT, SIGTERM or SIGHUP, or until it fails; returns the exit status.

    Call in the main thread: it handles those signals meanwhile. A second one stops without waiting for active runs.
    Raises `InternalError` when another stack runs in this home.
    """
    with Front(settings, dagster=dagster, definitions_module=definitions_module, prepare_hook=prepare_hook) as front:

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            front.ask_to_stop()

        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        try:
            front.watch(on_event)
            return front.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def start_background(
    settings: settings_module.Settings,
    *,
    dagster: bool = True,
    on_event: Callable[[Event], None] = lambda _: None,
    definitions_module: str = dagster_processes.DEFINITIONS,
    prepare_hook: str = prepare.DEFAULT_HOOK,
) -> Front:
    """Start the stack and return when it is ready; it ends with `stop()`, or with this process.

    `on_event` is called in a thread of its own. Raises `InternalError` when the stack does not become ready.
    """
    ready = threading.Event()

    def note(event: Event) -> None:
        on_event(event)
        if event.kind in ("ready", "stopped", "failed"):
            ready.set()

    front = Front(settings, dagster=dagster, definitions_module=definitions_module, prepare_hook=prepare_hook)
    threading.Thread(target=front.watch, args=(note,), name="stack-events", daemon=True).start()
    try:
        ready.wait()
    except BaseException:
        front.stop()
        raise
    if front.last.kind == "failed":
        front.stop()
        raise errors.InternalError(front.last.text)
    return front


def status(home: Path) -> StackStatus | None:
    """The stack that runs in a home, or None."""
    try:
        known = StackStatus(**json.loads(Home(home).status_file.read_text()))
        alive = {supervisor.__name__, known.home} <= set(psutil.Process(known.supervisor).cmdline())
    except (FileNotFoundError, ValueError, TypeError, psutil.Error):
        return None
    # A copied home has the file of the original, whose stack may run.
    return known if alive and settings_module.is_same_place(Path(known.home), home) else None


class Front:
    """The owner of a running supervisor. Made by the functions above."""

    def __init__(
        self, settings: settings_module.Settings, *, dagster: bool, definitions_module: str, prepare_hook: str
    ) -> None:
        self.home = Home(settings.home.absolute())
        self.last = Event(kind="problem", text="the supervisor said nothing")
        """The latest event."""
        self._stack = secrets.token_hex(8)
        self._asked = False
        self._ending = threading.Lock()
        self._status: int | None = None
        order = supervisor.Order(
            settings=settings.model_dump(mode="json"),
            dagster=dagster,
            definitions_module=definitions_module,
            prepare_hook=prepare_hook,
            front=os.getpid(),
        )
        self.home.create()
        with ExitStack() as building:
            lock = building.enter_context(self.home.lock())
            kernel.become_subreaper()
            self._supervisor = self._start(lock)
            self._held = building.pop_all()
        self._write(json.dumps(dataclasses.asdict(order)).encode() + b"\n")

    def __enter__(self) -> Front:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def watch(self, on_event: Callable[[Event], None]) -> None:
        """Pass on what happens, until the supervisor is gone; `stopped` or `failed` comes last."""
        for event in self._events():
            on_event(event)

    def ask_to_stop(self) -> None:
        """Begin an ordered stop; a second call no longer waits for active runs."""
        if self._asked:
            self._hang_up()
        else:
            self._asked = True
            self._write(b"stop\n")

    def stop(self) -> int:
        """Stop in order and wait; returns the exit status. Idempotent."""
        if not self._asked:
            self.ask_to_stop()
        return self._finish()

    def _start(self, lock: int) -> subprocess.Popen[bytes]:
        log = self.home.logs / "supervisor.log"
        processes.rotate(log)
        mark = {processes.STACK_VARIABLE: self._stack, processes.HOME_VARIABLE: str(self.home.path)}
        with log.open("ab") as stream:
            return subprocess.Popen(
                # -P: a file of the user's folder must not hide a module.
                [sys.executable, "-P", "-m", supervisor.__name__, str(self.home.path)],
                env={**os.environ, **proxies.sparing_loopback(os.environ), **mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                start_new_session=True,
                # Held there too: the home is free when both are gone.
                pass_fds=(lock,),
            )

    def _events(self) -> Iterator[Event]:
        assert self._supervisor.stdout is not None
        with self._supervisor.stdout as lines:
            for line in lines:
                self.last = from_line(line)
                yield self.last
        if self.last.kind not in ("stopped", "failed"):
            self._finish()
            self.last = Event(kind="failed", text=f"the supervisor ended unexpectedly ({self._last_words()})")
            yield self.last

    def _finish(self) -> int:
        """Wait for the supervisor's end, end what it left, and free the home."""
        with self._ending:
            if self._status is None:
                ended = self._supervisor.wait()
                processes.end_stack(self._stack)
                self._hang_up()
                self._held.close()
                self._status = 0 if ended == 0 else 1
        return self._status

    def _last_words(self) -> str:
        ended = self._supervisor.wait()
        return signal.Signals(-ended).name if ended < 0 else processes.last_line(self.home.logs / "supervisor.log")

    def _write(self, data: bytes) -> None:
        assert self._supervisor.stdin is not None
        try:
            os.write(self._supervisor.stdin.fileno(), data)
        except (BrokenPipeError, ValueError):
            return  # it is gone; its events end

    def _hang_up(self) -> None:
        """Close the pipe, which the supervisor takes for our death."""
        assert self._supervisor.stdin is not None
        self._supervisor.stdin.close()
