"""The way into the worker: start one, and wait until it has left.

The event loop runs in a thread of its own, and the calling thread waits for it. Whatever interrupts the caller (a
signal handler, Dagster's interrupt that is raised between any two of its instructions) therefore never tears the loop
apart: it becomes a request to leave, and goes on once everything is handed back.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker import engine
from antenna_orchestration.worker.options import WorkerOptions, WorkerSummary
from antenna_orchestration.worker.stopping import StopRequest

logger = logging.getLogger(__name__)

ASK_EVERY: Final = 0.5
"""Seconds between two questions whether to stop."""


def run(
    settings: Settings,
    options: WorkerOptions,
    *,
    should_stop: Callable[[], bool] | None = None,
    heed_signals: bool = False,
    run_id: str | None = None,
) -> WorkerSummary:
    """Run a worker until it is idle, too old or asked to leave, and say what it did.

    `should_stop` is called about twice a second in the calling thread and may take its time; an exception in it is
    logged and means no. Without it, or with `heed_signals`, SIGTERM and SIGINT ask the worker to leave, if this is the
    main thread. Whatever is raised into the waiting caller is raised again after the worker has left; a second one
    makes it leave at once.

    Raises `Unavailable` when NATS cannot be reached, `UnknownPipeline`, and `InternalError` when the worker broke.
    """
    stop = StopRequest()
    outcome = _Outcome()
    loop = threading.Thread(
        target=outcome.hold,
        args=(lambda: asyncio.run(engine.serve(settings=settings, options=options, stop=stop, run_id=run_id)),),
        name="worker",
    )
    with _signals_ask(stop, wanted=heed_signals or should_stop is None):
        loop.start()
        interrupt = _wait(outcome.known, stop, should_stop)
    loop.join()
    if interrupt is not None:
        raise interrupt
    return outcome.get()


def _wait(over: threading.Event, stop: StopRequest, should_stop: Callable[[], bool] | None) -> BaseException | None:
    """Wait for the worker to leave; returns what interrupted us meanwhile.

    Not by joining its thread: a join that an exception interrupts takes the thread for ended (CPython, bpo-45274).
    """
    interrupt: BaseException | None = None
    while not over.is_set():
        try:
            over.wait(ASK_EVERY)
            if should_stop is not None and not stop.asked and _says_stop(should_stop):
                stop.ask()
        except BaseException as error:
            # Whatever it is, the leases come first; it is raised afterwards.
            interrupt = error
            stop.ask()
    return interrupt


def _says_stop(should_stop: Callable[[], bool]) -> bool:
    try:
        return should_stop()
    except Exception:
        logger.exception("cannot find out whether to stop")
        return False


class _Outcome:
    """What the loop's thread returned or raised."""

    def __init__(self) -> None:
        self.known = threading.Event()
        self._summary: WorkerSummary | None = None
        self._error: BaseException | None = None

    def hold(self, call: Callable[[], WorkerSummary]) -> None:
        try:
            self._summary = call()
        except BaseException as error:
            self._error = error
        finally:
            self.known.set()

    def get(self) -> WorkerSummary:
        if self._error is not None:
            raise self._error
        if self._summary is None:
            raise errors.InternalError("the worker's thread did not start")
        return self._summary


@contextmanager
def _signals_ask(stop: StopRequest, *, wanted: bool) -> Iterator[None]:
    """Let SIGTERM and SIGINT ask the worker to leave; a second one hurries it."""
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: FrameType | None) -> None:
        logger.info("%s: leaving%s", signal.Signals(number).name, " at once" if stop.asked else "")
        stop.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
