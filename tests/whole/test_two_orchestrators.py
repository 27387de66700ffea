"""Two orchestrators on the same servers: two code servers, UIs, daemons and gateways, any of which is killed.

The first machine's stores are the second one's own servers, as docs/howto/own-servers.md has it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from antenna_orchestration.domain import run_tags
from antenna_orchestration.embedded import environment
from antenna_orchestration.embedded.daemon import SILENT_AFTER
from antenna_orchestration.embedded.home import Home
from tests.homes import temporary_folder
from tests.recoveries import Recovery
from tests.waiting import wait_until
from tests.whole.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SHARED = ("DATABASE_URL", "DAGSTER_PG_URL", "NATS_URL", "WORKER_NATS_URL", "REDIS_URL", "LAKE_URI", "SECRET_KEY")

Machines = tuple[Machine, Machine]


@pytest.fixture(scope="module")
def machines(template: Path) -> Iterator[Machines]:
    """Both run; the second one's daemon stands by."""
    recoveries: list[Recovery] = []
    with temporary_folder() as one, temporary_folder() as other:
        first, second = Machine(one, recoveries, template=template), Machine(other, recoveries)
        try:
            first.up()
            known = environment.read(Home(first.home))
            second.environment |= {f"ANTENNA_{name}": known[f"ANTENNA_{name}"] for name in SHARED}
            second.up()
            yield first, second
        finally:
            second.remove()
            first.remove()


def working(machines: Machines) -> list[Machine]:
    """Those whose daemon has the turn."""
    with machines[0].dagster() as connection:
        rows = connection.execute(
            "SELECT client_port FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND application_name = 'antenna daemon'"
        ).fetchall()
    ports = {port for (port,) in rows}
    found = []
    for machine in machines:
        # One that was just killed has none.
        with suppress(psutil.NoSuchProcess):
            connections = machine.part("daemon").net_connections("tcp")
            if any(one.laddr.port in ports for one in connections):
                found.append(machine)
    return found


def nothing_is_doubled(machines: Machines, jobs: Collection[int]) -> None:
    """All jobs end well, each image once; one run for each launch of a job, and one worker for each start."""
    first = machines[0]
    for job in jobs:
        first.ends(job)
    with first.dagster() as connection:
        rows = connection.execute(
            """SELECT run_id, status, start_time, jsonb_object_agg(key, value) FROM runs JOIN run_tags USING (run_id)
               GROUP BY 1, 2, 3"""
        ).fetchall()
    # A job is launched again when its run has left or died; a daemon that dies may leave one that nobody will begin.
    begun = [told for _, _, began, told in rows if began is not None]
    launches = Counter((told[run_tags.JOB], told[run_tags.LAUNCH]) for told in begun if run_tags.LAUNCH in told)
    starts = Counter(told[run_tags.START] for told in begun if run_tags.START in told)
    assert {str(job) for job in jobs} <= {job for job, _ in launches}, rows
    assert set(launches.values()) == {1}, rows
    assert set(starts.values()) == {1}, rows
    first.is_clean(*jobs)


def answers(machine: Machine) -> bool:
    """Whether its gateway does."""
    url = environment.read(Home(machine.home))["ANTENNA_GATEWAY_URL"]
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def submitted(machines: Machines, each: int = 2, images: int = 60) -> list[int]:
    """Jobs by turns from both machines."""
    return [machine.null_job(images, delay_ms=50) for _ in range(each) for machine in machines]


def test_one_daemon_works_and_the_other_takes_over(machines: Machines) -> None:
    first, second = machines
    assert working(machines) == [first]
    assert "standing by" in (second.home / "logs/daemon.log").read_text()
    jobs = submitted(machines)
    nothing_is_doubled(machines, jobs)

    # A daemon that dies is replaced by the one that stands by, and stands by itself when it is started again.
    jobs = submitted(machines)
    first.kill("daemon")
    wait_until(lambda: working(machines) == [second], description="the second one works", timeout=120, poll=0.5)
    nothing_is_doubled(machines, jobs)

    # One that is not heard for a while loses its turn, and leaves when it goes on.
    jobs = submitted(machines)
    stopped = second.part("daemon")
    go_on = second.stop("daemon")
    wait_until(
        lambda: _holder(machines) == [first.part("daemon").pid], description="the first one works",
        timeout=120 + SILENT_AFTER, poll=0.5,
    )  # fmt: skip
    go_on()
    wait_until(lambda: not stopped.is_running(), description="the other one has left", poll=0.2)
    nothing_is_doubled(machines, jobs)
    assert working(machines) == [first]


def test_gateways_and_code_servers_die_by_turns(machines: Machines) -> None:
    first, second = machines
    jobs = []
    for machine, part in ((first, "gateway"), (second, "code-server"), (second, "gateway"), (first, "code-server")):
        jobs += submitted(machines, 1, 100)
        first.under_way(jobs[-1])
        machine.kill(part)
        other = second if machine is first else first
        wait_until(lambda other=other: answers(other), description="the other gateway goes on", poll=0.5)
    # A code server takes its runs with it, and their jobs are launched again.
    nothing_is_doubled(machines, jobs)
    for machine in machines:
        wait_until(lambda machine=machine: answers(machine), description="the gateway is back", timeout=120, poll=0.5)


def test_a_daemon_that_asks_nobody_doubles_nothing(machines: Machines) -> None:
    """Somebody starts Dagster's own beside ours: two evaluate sensors and launch runs."""
    with _unlocked(machines[1]):
        jobs = submitted(machines, 6, 20)
        nothing_is_doubled(machines, jobs)


def _holder(machines: Machines) -> list[int]:
    """Process ids of the daemons with the turn; a stopped one's connections are still its own."""
    return [machine.part("daemon").pid for machine in working(machines)]


@contextmanager
def _unlocked(machine: Machine) -> Iterator[None]:
    """Dagster's own daemon on a machine's workspace."""
    log = machine.home / "logs/unlocked.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", str(machine.home / "dagster/workspace.yaml")],
            env=machine.joined() | {"DAGSTER_HOME": str(machine.home / "dagster")}, cwd=machine.home / "dagster",
            stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_until(lambda: "SensorDaemon" in log.read_text(), description="it works", timeout=120)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
