"""The parent's side of a trial: starts its process, hands it photographs, and notices when it hangs or dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors, kernel
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.trial import messages
from antenna_orchestration.worker.trial.messages import Began, Ended, Loaded, Note, Photograph, Refused, Tried

GRACE: Final = 30.0
"""Seconds beyond the time limit after which a process that does not end itself is killed: its driver hangs."""

START: Final = 300.0
"""Seconds until the first step, in which nothing is the pipeline's: Python, and PyTorch if there is a GPU."""

SLACK: Final = 0.5
"""Seconds by which a process that ended at the time limit may seem early from here."""

_START: Final = "start"

_TIMED_OUT: Final = 1
"""The exit status of a process that passed the limit, as `faulthandler.dump_traceback_later` ends it."""

_MOST_RELAYED: Final = 2**20
"""Longest line of what a pipeline prints that is relayed as one."""


class PipelineLost(errors.InternalError):
    """The process ended within a step; the message says how, in which, and with which photographs."""

    def __init__(self, reason: str, began: Began) -> None:
        super().__init__(reason)
        self.step, self.numbers = began.step, began.numbers


class PipelineRefused(errors.InternalError):
    """The pipeline cannot be loaded."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


class Trial:
    """One pipeline in a process of its own; `started` gives one. Calls must not overlap."""

    def __init__(self, process: asyncio.subprocess.Process, time_limit: float) -> None:
        self._process = process
        self._time_limit = time_limit
        # What people should know, and no failure of a photograph.
        self.notes: list[str] = []
        self._began = Began(_START)
        self._began_at = time.monotonic()

    async def loaded(self) -> Loaded:
        """Wait until the pipeline is loaded. Raises `PipelineRefused` and `PipelineLost`."""
        message = await self._next()
        if isinstance(message, Refused):
            raise PipelineRefused(message)
        assert isinstance(message, Loaded)
        return message

    async def run(self, photographs: Sequence[Photograph]) -> list[Tried]:
        """Process a batch. Raises `PipelineLost`: any of the photographs in the step may be the cause."""
        await self._send(messages.Batch(list(photographs)))
        tried: list[Tried] = []
        while len(tried) < len(photographs):
            message = await self._next()
            assert isinstance(message, Tried)
            tried.append(message)
        return tried

    async def end(self) -> Ended:
        """Let the process end, and learn what it took."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        message = await self._next()
        assert isinstance(message, Ended)
        return message

    async def send_order(self, order: messages.Order) -> None:
        """The first message."""
        await self._send(order)

    async def _send(self, message: messages.ToTrial) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(messages.frame(message))
        # A process that is gone is noticed by whoever waits for its answer.
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()

    async def _next(self) -> messages.FromTrial:
        """The next message that is an answer."""
        while True:
            match message := await self._received():
                case Began():
                    self._began, self._began_at = message, time.monotonic()
                case Note(text=text):
                    self.notes.append(text)
                case _:
                    return message

    async def _received(self) -> messages.FromTrial:
        stream = self._process.stdout
        assert stream is not None
        try:
            async with asyncio.timeout(START if self._began.step == _START else self._time_limit + GRACE):
                head = await stream.readexactly(messages.LENGTH.size)
                body = await stream.readexactly(messages.LENGTH.unpack(head)[0])
        except asyncio.IncompleteReadError:
            raise PipelineLost(self._cause(await self._process.wait()), self._began) from None
        except TimeoutError:
            raise PipelineLost(self._too_long(), self._began) from None
        message: messages.FromTrial = messages.from_trial.decode(body)
        return message

    def _cause(self, status: int) -> str:
        if status == _TIMED_OUT and time.monotonic() - self._began_at >= self._time_limit - SLACK:
            return self._too_long()
        if status >= 0:
            return f"{self._began.step} ended the process with status {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        perhaps = ", which was out of memory perhaps" if -status == signal.SIGKILL else ""
        return f"{self._began.step} ended the process by {name}{perhaps}"

    def _too_long(self) -> str:
        if self._began.step == _START:
            return f"its process did not start within {START:g} s"
        return f"{self._began.step} takes longer than {self._time_limit:g} s (--time-limit)"


@contextlib.asynccontextmanager
async def started(
    settings: Settings,
    *,
    slug: str,
    config: Mapping[str, Any],
    device: str,
    time_limit: float,
    on_line: Callable[[str], None],
) -> AsyncIterator[Trial]:
    """A trial, which begins to load its pipeline; its process and what that started are gone afterwards.

    `on_line` gets each line that the pipeline prints or logs.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "antenna_orchestration.worker.trial.process", str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(settings),
        limit=_MOST_RELAYED,
        # Ctrl-C is for the parent, and what the pipeline starts ends with it.
        start_new_session=True,
    )  # fmt: skip
    relay = asyncio.create_task(_relay(process, on_line), name="trial-relay")
    trial = Trial(process, time_limit)
    try:
        await trial.send_order(messages.Order(pickle.dumps(settings), slug, dict(config), device, time_limit))
        yield trial
        # What it printed last is still to be read.
        await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        # A process in a session of its own may hold the pipe open.
        await asyncio.wait([relay], timeout=1.0)
        relay.cancel()


async def _relay(process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
    assert process.stderr is not None
    while True:
        try:
            line = await process.stderr.readuntil(b"\n")
        except asyncio.IncompleteReadError as rest:
            if rest.partial:
                on_line(rest.partial.decode(errors="replace"))
            return
        except asyncio.LimitOverrunError as longer:
            line = await process.stderr.readexactly(longer.consumed)
        on_line(line.decode(errors="replace").rstrip("\n"))


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with its current import path and a limit on torch's threads."""
    threads = str(settings.worker_threads or kernel.usable_cpus())
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in sys.path)
    return {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
