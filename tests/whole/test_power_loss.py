"""The power fails: every process of the machine ends within milliseconds. Then it boots, and somebody types `up`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from antenna_orchestration.catalog.migrate import MIGRATIONS
from antenna_orchestration.synthetic import captures
from tests.waiting import wait_until
from tests.whole.machine import Machine, Progress

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1500)]

DELAY = 0.1
"""Seconds that an image takes of a job that is to be caught at work."""

MANY = 20_000
"""Images of a job that is to be caught while it is published or finished."""


@pytest.mark.timeout(900)
def test_a_job_goes_on_after_a_power_loss(machine: Machine) -> None:
    machine.up()
    job = machine.null_job(80, delay_ms=DELAY * 1000)
    before = machine.under_way(job)
    struck = machine.power_loss()
    machine.up()
    fault = "power loss while a worker infers"
    machine.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))


def submitting(machine: Machine) -> int:
    """The command is at it: the job is in the catalog, and it has not said so yet."""
    last = _newest(machine)
    images = machine.images(MANY)
    command = machine.type("submit", str(images), "--pipeline", "null")
    job = wait_until(lambda: _newest(machine) - last and _newest(machine), description="the job is there", poll=0.005)
    assert command.poll() is None, "it was too late"
    return job


def publishing(machine: Machine) -> int:
    """Some tasks are on the queue, and most are not."""
    job = machine.null_job(MANY)
    _catch(machine, job, lambda now: now.status == "RUNNING" or now.published > 200)
    return job


def collecting(machine: Machine) -> int:
    """Some results are counted, and most are on their way."""
    job = machine.null_job(MANY)
    _catch(machine, job, lambda now: now.accounted > 0)
    return job


def finishing(machine: Machine) -> int:
    """The tables are being written."""
    job = machine.null_job(MANY)
    table = Path(machine.settings.lake) / "detections" / f"job_id={job}"
    wait_until(table.exists, description="a table is begun", timeout=300, poll=0.002)
    assert machine.progress(job).status == "RUNNING", "it was too late"
    return job


def succeeding(machine: Machine) -> int:
    """The job has its final status, and its run does not know yet that it is over."""
    job = machine.null_job(200)
    with machine.catalog() as connection:
        _status_is(connection, job, "SUCCESS")
    return job


MOMENTS: dict[str, Callable[[Machine], int]] = {
    "a job is submitted": submitting,
    "it is published": publishing,
    "its results are collected": collecting,
    "its tables are written": finishing,
    "it has just succeeded": succeeding,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_power_fails_while(lasting: Machine, moment: str) -> None:
    job = MOMENTS[moment](lasting)
    struck = lasting.power_loss()
    lasting.up()
    before = lasting.progress(job)
    lost = () if before.is_over or before.accounted == before.total else ("worker",)
    fault = f"power loss while {moment}"
    lasting.recovers(job, fault=fault, since=struck, before=before, lost=lost)
    lasting.takes_up_another()


@pytest.mark.slow
def test_the_power_fails_again_during_the_next_start(machine: Machine) -> None:
    machine.up()
    job = machine.null_job(80, delay_ms=DELAY * 1000)
    before = machine.under_way(job)
    struck = machine.power_loss()
    for said in ("postgres runs", "code-server runs", "daemon runs"):
        machine.start()
        wait_until(lambda said=said: said in machine.said(), description=said, timeout=180, poll=0.02)
        machine.power_loss()
    machine.up()
    fault = "power loss, and again thrice while it starts"
    machine.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))


@pytest.mark.slow
def test_the_default_pipeline_goes_on_after_a_power_loss(machine: Machine) -> None:
    machine.up()
    captures.write_samples(machine.folder / "drawn", 24)
    job = machine.submit(machine.folder / "drawn")
    before = machine.under_way(job, images=2)
    struck = machine.power_loss()
    machine.up()
    fault = "power loss while a worker runs the default pipeline"
    machine.recovers(job, fault=fault, since=struck, before=before, lost=("worker",))


@pytest.mark.slow
def test_a_new_version_starts_after_a_power_loss(machine: Machine) -> None:
    machine.up()
    job = machine.null_job(100, delay_ms=DELAY * 1000)
    before = machine.under_way(job)
    with machine.catalog() as connection:
        _as_the_version_before_left_it(connection)
        struck = machine.power_loss()
    (machine.home / "dagster" / "schema-version").write_text("1.0.0")
    machine.up()
    fault = "power loss, then a new version with a migration"
    machine.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))


@pytest.mark.slow
def test_waiting_jobs_that_were_canceled_leave_their_places(machine: Machine) -> None:
    machine.up()
    # One project has half of the places.
    jobs = [machine.null_job(60, delay_ms=1000, project=f"p{number % 2}") for number in range(14)]
    for job in jobs[:12]:
        machine.until(job, lambda now: now.status == "RUNNING", description="has a run")
    struck = machine.power_loss()
    machine.up()
    for job in jobs:
        machine.repeat("jobs", "cancel", str(job))
    after = machine.null_job(5)
    machine.recovers(after, fault="power loss with 14 jobs, which are then canceled", since=struck)
    for job in jobs:
        machine.ends(job, status="CANCELED")


def _as_the_version_before_left_it(connection: psycopg.Connection[Any]) -> None:
    """Undo the newest migration of the catalog: what it makes. Its other statements may be repeated."""
    *_, before, newest = sorted((MIGRATIONS / "versions").glob("*.sql"))
    for table in re.findall(r"CREATE TABLE (\w+)", newest.read_text()):
        connection.execute(f"DROP TABLE {table} CASCADE")
    for table, columns in re.findall(r"ALTER TABLE (\w+)\s+(ADD COLUMN[^;]+)", newest.read_text()):
        for column in re.findall(r"ADD COLUMN (\w+)", columns):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    for index in re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", newest.read_text()):
        connection.execute(f"DROP INDEX IF EXISTS {index}")
    connection.execute("UPDATE alembic_version SET version_num = %s", [before.name[:4]])


def _newest(machine: Machine) -> int:
    with machine.catalog() as connection:
        row = connection.execute("SELECT coalesce(max(job_id), 0) FROM jobs").fetchone()
    assert row is not None
    return int(row[0])


def _catch(machine: Machine, job: int, fact: Callable[[Progress], bool]) -> None:
    """Return within milliseconds of a fact, and before the job is done."""
    with machine.catalog() as connection:
        now = wait_until(
            lambda: (seen := machine.progress(job, connection)) and fact(seen) and seen,
            description="the moment is there",
            timeout=240,
            poll=0.005,
        )
    assert now.accounted < now.total, f"it was too late: {now}"


def _status_is(connection: psycopg.Connection[tuple[str]], job: int, status: str) -> None:
    def there() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            return connection.execute("SELECT status FROM jobs WHERE job_id = %s", [job]).fetchone() == (status,)
        return False

    wait_until(there, description=f"job {job} is {status}", timeout=240, poll=0.002)
