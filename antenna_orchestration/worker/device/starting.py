"""How a worker starts device processes: a fresh interpreter, or on a CPU a fork of a process that has PyTorch."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from antenna_orchestration import kernel
from antenna_orchestration.pipelines import runtimes
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.device import template_protocol

logger = logging.getLogger(__name__)

SPINS: Final = "2000"
"""Times that a thread of torch looks for the others, some 0.1 ms, before it sleeps.

By itself it looks for several milliseconds. Beside other processes, where the thread that it waits for has no CPU, the
default pipeline took three times as much CPU time for a photograph, and more than four times as long.
"""

ANSWER_TIMEOUT: Final = 30.0
"""Seconds that the process with PyTorch may take to fork itself, which takes it milliseconds."""

END_TIMEOUT: Final = 2.0
"""Seconds that a process gets to end by itself before it is killed."""


class Process(Protocol):
    """A device process, as the worker needs it; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def kill(self) -> None:
        """Kill it, if it still runs."""


def start_fresh(settings: Settings, channel: socket.socket, import_path: Sequence[str] = ()) -> Process:
    """Start a device process that serves `channel`; folders of `import_path` come first. Raises `OSError`."""
    return _start("antenna_orchestration.worker.device.process", settings, channel, import_path)


async def ended(process: Process) -> None:
    """Wait until the process is gone, killing it after `END_TIMEOUT` seconds; gives up after twice that."""
    patience = END_TIMEOUT
    try:
        async with asyncio.timeout(patience * 2):
            while process.poll() is None:
                await asyncio.sleep(0.01)
                patience -= 0.01
                if patience < 0:
                    process.kill()
    except TimeoutError:
        logger.error("process %d of this worker cannot be killed; its driver hangs", process.pid)


class Template:
    """The process that device processes are forked from, started with the first of them.

    Where it cannot be used, because PyTorch is missing or its import fails, each of them is a fresh interpreter.
    """

    def __init__(self, settings: Settings, *, answer_timeout: float = ANSWER_TIMEOUT) -> None:
        self._settings = settings
        self._answer_timeout = answer_timeout
        self._is_usable = sys.platform == "linux" and importlib.util.find_spec("torch") is not None
        # The last one is asked; those before it stay as long as what was forked from them.
        self._running: list[_Running] = []
        self._asking = asyncio.Lock()

    @property
    def is_asked(self) -> bool:
        """Whether it is being started, or forks."""
        return self._asking.locked()

    async def be_ready(self) -> None:
        """Import PyTorch, if that is not done yet: the next `start` takes no time."""
        # Whoever starts a process is told.
        with contextlib.suppress(OSError):
            async with self._asking:
                await self._latest()

    async def start(self, channel: socket.socket) -> Process:
        """Start a device process that serves `channel`. Raises `OSError`."""
        async with self._asking:
            # A second time if the first one is gone, or refuses.
            for _ in range(2):
                if (running := await self._latest()) is None:
                    break
                with contextlib.suppress(ConnectionError):
                    return await running.fork(channel, self._answer_timeout)
        return start_fresh(self._settings, channel)

    async def end(self) -> None:
        """End it; those that were forked from it end with it."""
        for running in self._running:
            await running.end()

    async def _latest(self) -> _Running | None:
        self._running = [running for running in self._running if not running.is_over]
        if self._running and self._running[-1].forks:
            return self._running[-1]
        return await self._another() if self._is_usable else None

    async def _another(self) -> _Running | None:
        running = _Running(self._settings)
        self._running.append(running)
        try:
            async with asyncio.timeout(runtimes.IMPORT_LIMIT):
                await running.up
        except TimeoutError:
            await running.end()
            self._give_up(f"PyTorch was not imported within {runtimes.IMPORT_LIMIT:.0f} s")
            return None
        except ConnectionError:
            self._give_up("it ended before it was ready, see what it says above")
            return None
        except BaseException:
            await running.end()
            raise
        return running

    def _give_up(self, why: str) -> None:
        self._is_usable = False
        logger.warning("each own pipeline imports PyTorch itself: the process that was to do so once failed: %s", why)


class _Running:
    """One life of the template."""

    def __init__(self, settings: Settings) -> None:
        """Raises `OSError`."""
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        try:
            with theirs:
                self._process = _start("antenna_orchestration.worker.device.template", settings, theirs)
        except OSError:
            self._control.close()
            raise
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[_Fork]] = {}
        self._forked: dict[int, _Fork] = {}
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whether it still forks; if not, it stays for those that it forked.
        self.forks = True
        self.is_over = False
        self._reader = asyncio.create_task(self._read(), name="template-reader")

    async def fork(self, channel: socket.socket, timeout: float) -> _Fork:
        """Raises `ConnectionError` when it is gone or refuses, and `OSError` when the kernel does.

        One that does not answer is killed, with all that it forked: it would not tell how they end either.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._fork(channel)
        except TimeoutError:
            logger.error("process %d, which has PyTorch, does not answer and is killed", self._process.pid)
            self._process.kill()
            self.forks = False
            raise ConnectionResetError from None
        except ConnectionError:
            self.forks = False
            raise

    async def _fork(self, channel: socket.socket) -> _Fork:
        if self.is_over:
            raise ConnectionResetError
        number = next(self._numbers)
        asked: asyncio.Future[_Fork] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        request = msgspec.msgpack.encode(template_protocol.Fork(number))
        socket.send_fds(self._control, [request], [channel.fileno()])
        return await asked

    async def end(self) -> None:
        await kernel.end(self._reader)
        # It leaves when its socket ends.
        self._over()
        await ended(self._process)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(self._control, template_protocol.LARGEST):
                self._on_message(template_protocol.from_template.decode(data))
        except ConnectionError:
            logger.debug("the process with PyTorch is gone")
        finally:
            self._over()
        await ended(self._process)

    def _on_message(self, message: template_protocol.FromTemplate) -> None:
        match message:
            case template_protocol.Up():
                self.up.set_result(None)
            case template_protocol.Forked(number=number, pid=pid):
                fork = self._forked[pid] = _Fork(pid)
                # Whoever asked may have left; then the process ends by the end of its socket.
                if not (asked := self._asked.pop(number)).done():
                    asked.set_result(fork)
            case template_protocol.Refused(number=number):
                if not (asked := self._asked.pop(number)).done():
                    asked.set_exception(ConnectionRefusedError("packages were installed"))
            case template_protocol.NotForked(number=number, error=error):
                if not (asked := self._asked.pop(number)).done():
                    asked.set_exception(OSError(error, os.strerror(error)))
            case template_protocol.Ended(pid=pid, status=status):
                self._forked.pop(pid).status = status

    def _over(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        self._control.close()
        for fork in self._forked.values():
            # The kernel kills them with it.
            fork.status = -signal.SIGKILL
        waitings: list[asyncio.Future[Any]] = [self.up, *self._asked.values()]
        for waiting in waitings:
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the process with PyTorch ended"))
                # Marks it as retrieved: whoever asked may have left.
                waiting.exception()


class _Fork:
    """A device process that was forked from the template, which tells when it ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _start(
    module: str, settings: Settings, channel: socket.socket, import_path: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(channel.fileno()), str(os.getpid())],
        pass_fds=[channel.fileno()],
        stdin=subprocess.DEVNULL,
        # What a pipeline prints is for people, and our own output may be JSON for a program.
        stdout=2,
        env=_environment(settings, import_path),
    )


def _environment(settings: Settings, import_path: Sequence[str]) -> dict[str, str]:
    """This process's environment, with its current import path and limits on the threads of libraries.

    Images are spread over threads already: NumPy's and OpenCV's own would only wait for each other beside these.
    """
    threads = str(settings.worker_threads or kernel.usable_cpus())
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in (*import_path, *sys.path))
    limits = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
    return {**limits, "GOMP_SPINCOUNT": SPINS, **os.environ, "PYTHONPATH": path}
