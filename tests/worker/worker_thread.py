"""A worker in a thread of the test's own process: quicker to start than a process, for tests that send no signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator

import psutil

from antenna_orchestration.settings import Settings
from antenna_orchestration.worker import engine
from antenna_orchestration.worker.options import WorkerOptions, WorkerSummary
from antenna_orchestration.worker.stopping import StopRequest
from tests import waiting


class WorkerThread:
    """One worker; its device process is a process all the same. Made by `running`."""

    def __init__(self, settings: Settings, options: WorkerOptions) -> None:
        self.stop = StopRequest()
        self._lines: list[str] = []
        self._summary: WorkerSummary | None = None
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(settings, options), name="worker")
        self._thread.start()

    @property
    def log(self) -> str:
        """What has been logged in this process since it started."""
        return "\n".join(self._lines)

    def device_pid(self) -> int:
        """Its device process, as soon as there is one."""

        def device() -> int | None:
            for child in psutil.Process(os.getpid()).children():
                # One that has just ended has no command line.
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any("worker.device.process" in word for word in child.cmdline()):
                        return child.pid
            return None

        found = waiting.wait_until(device, description="a device process")
        assert found is not None
        return found

    async def leaves(self, timeout: float = 120.0) -> WorkerSummary:
        """Wait until it has left by itself, and return its summary."""
        assert await asyncio.to_thread(self._over.wait, timeout), self.log
        if self._error is not None:
            raise self._error
        assert self._summary is not None
        return self._summary

    def end(self) -> None:
        """Make it leave, finishing nothing."""
        self.stop.ask()
        self.stop.ask()
        self._thread.join()

    def _run(self, settings: Settings, options: WorkerOptions) -> None:
        handler = logging.Handler(logging.INFO)
        handler.emit = lambda record: self._lines.append(record.getMessage())  # type: ignore[method-assign]
        root = logging.getLogger("antenna_orchestration")
        root.setLevel(logging.INFO)
        root.addHandler(handler)
        try:
            self._summary = asyncio.run(engine.serve(settings=settings, options=options, stop=self.stop, run_id=None))
        except BaseException as error:
            self._error = error
        finally:
            root.removeHandler(handler)
            self._over.set()


@contextlib.contextmanager
def running(settings: Settings, options: WorkerOptions | None = None) -> Iterator[WorkerThread]:
    """Start a worker; at the end of the block it is made to leave if it is still there."""
    worker = WorkerThread(settings, options or WorkerOptions())
    try:
        yield worker
    finally:
        worker.end()
