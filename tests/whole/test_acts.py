"""What people do to the runs of a job in the UI, and to the job by commands, one after the other: docs/howto/runs.md.

`tests/definitions/test_acts_in_any_order.py` draws far longer orders, with runs on threads. Here the real daemon and
webserver act, on runs that are processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.waiting import wait_until
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1500)]

DELAY = 0.1
"""Seconds that an image takes."""

IMAGES = 300

Act = Callable[[Machine, int], None]


def terminate(machine: Machine, job: int) -> None:
    """All of its runs that are not over."""
    _terminate(machine, job, force=False)


def force(machine: Machine, job: int) -> None:
    """The same, with the check box."""
    _terminate(machine, job, force=True)


def _terminate(machine: Machine, job: int, *, force: bool) -> None:
    runs = machine.runs_of(job, over=False)
    assert runs, machine.story(job)
    for run in runs:
        machine.terminate(run, force=force)


def terminate_the_first(machine: Machine, job: int) -> None:
    """The run that was there before the others."""
    machine.terminate(machine.runs_of(job)[-1])


def again(machine: Machine, job: int) -> None:
    """Execute its newest run again, all of it."""
    machine.execute_again(machine.runs_of(job)[0])


def again_from_failure(machine: Machine, job: int) -> None:
    """Execute its newest run again, but for the steps that succeeded."""
    machine.execute_again(machine.runs_of(job)[0], strategy="FROM_FAILURE")


def cancel(machine: Machine, job: int) -> None:
    machine.repeat("jobs", "cancel", str(job))


def retry(machine: Machine, job: int) -> None:
    machine.repeat("jobs", "retry", str(job))


def is_canceled(machine: Machine, job: int) -> None:
    machine.ends(job, status="CANCELED")


def goes_on(machine: Machine, job: int) -> None:
    """Wait until a run collects it again."""
    before = machine.progress(job).accounted
    machine.until(job, lambda now: now.status == "RUNNING" and now.accounted > before, description="goes on")


def has_two_runs(machine: Machine, job: int) -> None:
    """Wait until both have a process."""

    def begun() -> bool:
        runs = [process for name, _, process in machine.runs_begun() if name == "process_job"]
        return len(runs) > 1 and None not in runs

    with machine.explained(job):
        wait_until(begun, description="two runs are begun", poll=0.2)


def is_launched_again(machine: Machine, job: int) -> None:
    """Wait until there is another run, while the lake still does not take the tables."""
    with machine.explained(job):
        wait_until(lambda: len(machine.runs_of(job)) > 1, description="another run is there", poll=0.5)


IN_THE_MIDDLE: dict[str, tuple[Act, ...]] = {
    "terminated, then executed again": (terminate, is_canceled, again),
    "terminated by force, and executed again at once": (force, again_from_failure),
    "terminated by force, then retried": (force, is_canceled, retry),
    "terminated, retried, terminated, retried": (
        terminate,
        is_canceled,
        retry,
        goes_on,
        terminate,
        is_canceled,
        retry,
    ),
    "canceled by command, then executed again": (cancel, is_canceled, again),
    "executed again while it runs": (again,),
    "executed again while it runs, and the first run terminated": (again, has_two_runs, terminate_the_first),
}

WHILE_FINISHING: dict[str, tuple[Act, ...]] = {
    "terminated": (terminate, is_launched_again),
    "terminated by force": (force, is_launched_again),
    "terminated by force, and executed again at once": (force, again),
    "executed again": (again,),
    "canceled by command, then retried": (cancel, is_canceled, retry),
}


def act(machine: Machine, job: int, acts: tuple[Act, ...]) -> float:
    """Do one after the other; the time of the last."""
    for one in acts:
        with machine.explained(job):
            one(machine, job)
    return time.monotonic()


def ends_well(machine: Machine, job: int, *, fault: str, since: float) -> None:
    """See that the job has succeeded, each image once, and that no run of it is left."""
    machine.succeeds(job)
    machine.recovers(job, fault=fault, since=since)
    machine.has_no_run_left(job)
    machine.takes_up_another()


@pytest.mark.parametrize("acts", IN_THE_MIDDLE)
def test_a_job_in_the_middle_is(lasting: Machine, acts: str) -> None:
    job = lasting.null_job(IMAGES, delay_ms=DELAY * 1000)
    lasting.under_way(job)
    since = act(lasting, job, IN_THE_MIDDLE[acts])
    ends_well(lasting, job, fault=f"a running job, {acts}", since=since)


@pytest.mark.parametrize("acts", WHILE_FINISHING)
def test_a_job_whose_tables_are_being_written_is(lasting: Machine, acts: str) -> None:
    job = lasting.null_job(100, delay_ms=20)
    with lasting.held_while_finishing(job):
        since = act(lasting, job, WHILE_FINISHING[acts])
    ends_well(lasting, job, fault=f"a job whose tables are being written, {acts}", since=since)
