"""Dagster's database stands still between two steps of a run: the run lives, is heard, and is not launched again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from antenna_orchestration.resources.run_states import SILENT_AFTER, START_GRACE
from tests.waiting import wait_until
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1500)]

STANDS_STILL = max(SILENT_AFTER, START_GRACE) + 15
"""Seconds: longer than any run may be silent, wherever it is in its work."""


@contextmanager
def no_event_is_stored(machine: Machine) -> Iterator[None]:
    """Whoever stores an event of a run waits, as at the end of each step. All else is read and written as always."""
    with machine.dagster() as connection, connection.transaction():
        connection.execute("LOCK TABLE event_logs IN EXCLUSIVE MODE")
        yield


def waiting_to_store(machine: Machine) -> int:
    """How many wait."""
    with machine.dagster() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'event_logs'::regclass"
        ).fetchone()
    assert row is not None
    return int(row[0])


def newest_tick(machine: Machine) -> float:
    """When the sensor that launches jobs last looked, and had looked at all."""
    with machine.dagster() as connection:
        rows = connection.execute("SELECT tick_body FROM job_ticks ORDER BY id DESC LIMIT 200").fetchall()
    ticks = [json.loads(body) for (body,) in rows]
    return max(
        (
            float(tick["end_timestamp"])
            for tick in ticks
            if "queued_jobs" in (tick.get("instigator_name"), tick.get("job_name")) and tick.get("end_timestamp")
        ),
        default=0.0,
    )


def test_a_run_between_steps_is_heard_while_no_event_is_stored(machine: Machine) -> None:
    machine.up()
    # A worker that need not be started meanwhile.
    other = machine.null_job(1500, delay_ms=100)
    machine.under_way(other)
    job = machine.null_job(20)
    machine.until(job, lambda now: now.status == "RUNNING", description="has a run", poll=0.01)
    before = len(machine.runs_of(job))
    with machine.explained(job), no_event_is_stored(machine):
        since = time.time()
        wait_until(lambda: waiting_to_store(machine), description="its run waits to store an event")
        # The sensor has to have looked for it, or nothing is seen here.
        wait_until(
            lambda: newest_tick(machine) > since + STANDS_STILL,
            description="the sensor has looked", timeout=STANDS_STILL + 120, poll=1.0,
        )  # fmt: skip
        assert not machine.progress(job).is_over, "it was too late"
        said = machine.antenna("jobs", "logs", str(job)).stdout
    after = time.monotonic()
    machine.recovers(job, fault=f"Dagster's events cannot be stored for {STANDS_STILL:.0f} s", since=after)
    assert len(machine.runs_of(job)) == before == 1, said
    assert "launch 2" not in said, said
    machine.repeat("jobs", "cancel", str(other))
