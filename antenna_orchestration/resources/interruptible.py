"""Long work inside a run: on a thread of its own, while the main thread watches the run and talks to Dagster.

Dagster interrupts a run by raising in the main thread. If an event loop ran there, the exception would be raised inside
whatever callback happens to run, and some swallow it. Also, a write to Dagster's database can block for seconds, which
on the main thread delays no work.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import dagster as dg

from antenna_orchestration.domain import redaction, terminal
from antenna_orchestration.resources import run_states

logger = logging.getLogger(__name__)

T = TypeVar("T")

STATUS_EVERY: Final = 2.0
"""Seconds between checks of the run's own status: CANCELED in the UI does not by itself stop the process."""

JOIN_TIMEOUT: Final = 45.0
"""Seconds that interrupted work has for its clean-up; less than Dagster's `cancel_timeout_seconds`."""

AGAIN_AFTER: Final = 5.0
"""Seconds after which work that has not ended is interrupted again."""

_BACKLOG: Final = 200


class Reports:
    """Messages from the work to Dagster. Sending never blocks or raises: when Dagster is slow, messages are dropped."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[dg.AssetExecutionContext | dg.OpExecutionContext], object]]
        self._queue = queue.Queue(maxsize=_BACKLOG)

    def log(self, message: str) -> None:
        """Send a line for the run's log; for milestones."""
        self._put(lambda context: context.log.info(terminal.line(redaction.without_secrets(message))))

    def tag(self, name: str, value: str) -> None:
        """Send a tag of the run, which replaces its earlier value."""
        self._put(lambda context: context.instance.add_run_tags(context.run.run_id, {name: value}))

    def _put(self, report: Callable[[Any], object]) -> None:
        try:
            self._queue.put_nowait(report)
        except queue.Full:
            logger.debug("a report to Dagster was dropped")

    def wake(self) -> None:
        """Wake up the thread that waits in `deliver`."""
        self._put(lambda _: None)

    def deliver(self, context: Any, *, within: float) -> None:
        """Wait up to `within` seconds for a message and pass it on; it is lost if Dagster's database is away."""
        try:
            report = self._queue.get(timeout=within)
        except queue.Empty:
            return
        self._hand_over(report, context)

    def flush(self, context: Any) -> None:
        """Pass all waiting messages to Dagster."""
        while not self._queue.empty():
            self._hand_over(self._queue.get_nowait(), context)

    @staticmethod
    def _hand_over(report: Callable[[Any], object], context: Any) -> None:
        try:
            report(context)
        except Exception as error:
            logger.warning("Dagster did not take a report: %s", error)


def was_terminated(context: Any) -> bool:
    """Whether the run's status is CANCELING or CANCELED: somebody terminated it.

    False while the status is unknown, and for a run that was deleted: that removes a record, and stops no work.
    """
    return _status(context) in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def _status(context: Any) -> dg.DagsterRunStatus | None:
    """The run's status, or None when Dagster's database does not answer."""
    try:
        run = context.instance.get_run_by_id(context.run.run_id)
    except Exception as error:
        logger.warning("the run's status cannot be read: %s", error)
        return None
    # A run that was deleted is over, but nobody terminated it.
    return run.status if run else dg.DagsterRunStatus.FAILURE


Runner = Callable[[Callable[[], Coroutine[Any, Any, T]]], T]
"""Runs a coroutine on an event loop of another thread than Dagster's, and waits."""


def run_interruptible(
    context: Any, work: Callable[[Reports], Awaitable[T]], run: Runner[T] = lambda act: asyncio.run(act())
) -> T:
    """Run a coroutine to its end, unless the run is interrupted or its status is no longer STARTED.

    Then the coroutine is cancelled and gets time to clean up, and `DagsterExecutionInterruptedError` is raised.
    """
    reports = Reports()
    main: list[asyncio.Task[T]] = []

    async def wrapped() -> T:
        main.append(asyncio.current_task())  # type: ignore[arg-type]
        return await work(reports)

    def cancel() -> None:
        if main:
            with contextlib.suppress(RuntimeError):  # the loop has ended already, and the thread is about to
                main[0].get_loop().call_soon_threadsafe(main[0].cancel)

    return _run(context, reports, lambda: run(wrapped), cancel)


def run_interruptible_blocking(context: Any, work: Callable[[threading.Event], T]) -> T:
    """The same for a blocking function, which has to return soon after its event is set."""
    stop = threading.Event()
    return _run(context, Reports(), lambda: work(stop), stop.set)


def _run(context: Any, reports: Reports, work: Callable[[], T], stop: Callable[[], object]) -> T:
    """Do the work on a thread; returns or raises what it does."""
    outcome: queue.Queue[tuple[bool, Any]] = queue.Queue()

    def body() -> None:
        try:
            outcome.put((True, work()))
        except BaseException as error:
            outcome.put((False, error))
        finally:
            reports.wake()

    thread = threading.Thread(target=body, name="work of the run", daemon=True)
    thread.start()
    _watch(context, reports, thread, stop)
    reports.flush(context)
    worked, value = outcome.get_nowait()
    if worked:
        return value  # type: ignore[no-any-return]
    raise value


def _watch(context: Any, reports: Reports, thread: threading.Thread, stop: Callable[[], object]) -> None:
    """Wait for the thread; on an interrupt, or when the run is no longer STARTED, stop it and raise."""
    looked = time.monotonic()
    try:
        while thread.is_alive():
            reports.deliver(context, within=0.1)
            if time.monotonic() - looked < STATUS_EVERY:
                continue
            looked = time.monotonic()
            if _status(context) not in (None, dg.DagsterRunStatus.STARTED):
                raise dg.DagsterExecutionInterruptedError
    except dg.DagsterExecutionInterruptedError:
        deadline = time.monotonic() + JOIN_TIMEOUT
        while thread.is_alive() and time.monotonic() < deadline:
            # Repeatedly, because a cancellation can be swallowed on its way (see `processing.loops`).
            stop()
            thread.join(AGAIN_AFTER)
        if run_states.is_stack_stopping():
            run_states.end_with_stack(context.instance, context.run.run_id)
        raise
