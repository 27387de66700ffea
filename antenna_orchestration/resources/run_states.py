"""Which runs are alive: one rule, for the sensors and for the start of the stack.

Dagster learns from the code server that a run's process has died. If the code server is gone as well, the run stays
STARTED for ever: its job waits, and it occupies one of the run queue's slots. A run is therefore alive only as long as
it is heard.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from antenna_orchestration import kernel, settings
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.times import in_utc

logger = logging.getLogger(__name__)

START_GRACE: Final = 60.0
"""Seconds from a run's start within which its first heartbeat is expected."""

SILENT_AFTER: Final = 45.0
"""Silence, in seconds, after which a run is taken for dead whose process cannot be looked at: nine heartbeats."""

JUMP: Final = 5.0
"""Seconds from which on the clock on the wall has jumped."""

HEARD_AGAIN: Final = 15.0
"""Seconds after a jump in which whoever lives is heard: three heartbeats."""

_MOST_TOLD: Final = 300
"""Characters of a run's failure that are told."""

HELD: Final = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
"""What a run is whose process was started or is about to be; Dagster itself ends those that do not get beyond the
first two, and those that do not follow a cancellation."""


class Silence:
    """Whether silence says anything yet: after a suspend, or once the clock jumped forward, every run was silent.

    A laptop that was closed for an hour finds heartbeats of an hour ago; those that live are heard again within
    seconds. Threads may share it.
    """

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._lock = threading.Lock()
        self._offset = wall() - steady()
        self._from = 0.0

    def counts(self) -> bool:
        """False for some seconds after the first look that finds more time on the wall than has passed here."""
        now = self._steady()
        offset = self._wall() - now
        with self._lock:
            if offset - self._offset > JUMP:
                self._from = now + HEARD_AGAIN
            self._offset = offset
            return now >= self._from


_silence: Final = Silence()


def why_dead(record: dg.RunRecord, silent_for: float | None) -> str:
    """Why a STARTED run cannot be alive any more; empty if it may be.

    `silent_for` is the number of seconds since its last heartbeat, None if there was none.
    """
    if kernel.is_gone(record.dagster_run.tags.get(tags.PROCESS, "")):
        return "its process is gone"
    if not _silence.counts():
        return ""
    if silent_for is None:
        return f"it was not heard within {START_GRACE:.0f} s of its start" if age(record) > START_GRACE else ""
    return f"it has not been heard for {silent_for:.0f} s" if silent_for > SILENT_AFTER else ""


def end(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    """Let Dagster know that a run is over; idempotent. If its process lives after all, it notices, and ends."""
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, message=f"{why}; the run was being canceled")
    else:
        instance.report_run_failed(run, why)


def is_stack_stopping() -> bool:
    """Whether `antenna up` is stopping: an interrupted run was then not terminated by a person."""
    return (settings.get().home / "stopping").exists()


def end_with_stack(instance: dg.DagsterInstance, run_id: str) -> None:
    """Let a run that the end of `antenna up` interrupts become CANCELED rather than a failure, which it is not.

    It is tagged first, so that nobody takes it for terminated by a person. If Dagster's database does not answer, the
    run becomes a failure.
    """
    why = "antenna up was stopped; at its next start the work goes on in another run"
    try:
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status == dg.DagsterRunStatus.STARTED:
            instance.add_run_tags(run_id, {tags.STOPPED: run_id})
            instance.report_run_canceling(run, message=why)
    except Exception as error:
        logger.warning("Dagster was not told that the run ends with the stack: %s", error)


def end_awaiting_results(instance: dg.DagsterInstance, run_id: str, why: str) -> None:
    """Let a run that has nothing to collect become CANCELED; it is tagged first, as in `end_with_stack`."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status == dg.DagsterRunStatus.STARTED:
        instance.add_run_tags(run_id, {tags.AWAITING: run_id})
        instance.report_run_canceling(run, message=why)


def left_its_job(run: dg.DagsterRun) -> bool:
    """Whether `end_with_stack` or `end_awaiting_results` ended the run: it was canceled, and its job goes on."""
    return run.run_id in (run.tags.get(tags.STOPPED), run.tags.get(tags.AWAITING))


def why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Why a run failed, in one line: what its step said, else what Dagster says."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    said = ""
    for record in instance.get_records_for_run(run.run_id, of_type=kinds, limit=10).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            failure = data.user_failure_data
            said = (failure.description if failure else None) or (data.error.message if data.error else "") or ""
            break
        said = event.message or ""
    return " ".join(said.split())[:_MOST_TOLD] or "without a reason"


def others_wait(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether runs of the same role wait in the run queue."""
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={tags.ROLE: run.tags.get(tags.ROLE, "")})
    return instance.get_runs_count(wanted) > 0


def age(record: dg.RunRecord) -> float:
    """Seconds since the run started, or was created."""
    if record.start_time is not None:
        return time.time() - record.start_time
    return (datetime.now(UTC) - in_utc(record.create_timestamp)).total_seconds()


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether one of our jobs made the run; the instance may hold runs of other projects."""
    return tags.PROCESS in run.tags or tags.ROLE in run.tags


def location_of(run: dg.DagsterRun) -> str:
    """The code location of the run; `dagster job execute` starts runs without one, on our machine."""
    return tags.LOCATION if run.remote_job_origin is None else run.remote_job_origin.location_name


def is_elsewhere(run: dg.DagsterRun) -> bool:
    """Whether the run is of another code location than ours."""
    return location_of(run) != tags.LOCATION
