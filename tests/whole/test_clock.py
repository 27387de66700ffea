"""The clock of a whole machine jumps two hours forward, and back, under a job; and the machine restarts in between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.chaos.wall_clock import Jumper, jumping
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

IMAGES = 200
DELAY = 0.1
"""Seconds that an image takes."""

HOURS = 2


@pytest.fixture
def clock() -> Iterator[Jumper]:
    with jumping() as clock:
        yield clock


@pytest.fixture
def jumpy(machine: Machine, clock: Jumper) -> Machine:
    """A machine all of whose processes have that clock, and whoever types a command there."""
    machine.environment |= clock.environment_of_a_stack
    return machine


def submitted(machine: Machine) -> int:
    """A job from an interpreter of its own: one that is forked for the tests has their clock."""
    config = json.dumps({"delay_ms": DELAY * 1000})
    folder = machine.images(IMAGES)
    typed = machine.repeat("submit", str(folder), "--pipeline", "null", "--config", config, "--json")
    return int(json.loads(typed.stdout)["job_id"])


def ahead(machine: Machine) -> float:
    """Hours by which PostgreSQL's clock is ahead."""
    with machine.catalog() as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(round((row[0] - time.time()) / 3600, 1))


def test_the_clock_jumps_forward_and_back_under_jobs(jumpy: Machine, clock: Jumper) -> None:
    jumpy.up()
    for hours, where in ((HOURS, "forward"), (0, "back")):
        job = submitted(jumpy)
        before = jumpy.under_way(job)
        clock.jump(hours * 3600)
        since = time.monotonic()
        assert ahead(jumpy) == hours
        fault = f"the machine's clock jumps {HOURS} h {where}"
        jumpy.recovers(job, fault=fault, since=since, before=before, each=DELAY)
        # Nobody took the silence of two hours, which nobody kept, for a run's death.
        assert len(jumpy.runs_of(job)) == 1, jumpy.story(job)
        jumpy.takes_up_another()


def test_the_clock_is_set_back_while_the_power_is_off(jumpy: Machine, clock: Jumper) -> None:
    """A machine whose battery keeps no time: what it wrote before lies in the future."""
    clock.jump(HOURS * 3600)
    jumpy.up()
    job = submitted(jumpy)
    before = jumpy.under_way(job)
    struck = jumpy.power_loss()
    clock.jump(0)
    jumpy.up()
    assert ahead(jumpy) == 0
    fault = f"power loss, and the clock is set back by {HOURS} h"
    jumpy.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))
    jumpy.takes_up_another()
