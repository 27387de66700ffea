"""The lake is on a share, which goes away under a job, or comes later than the machine after a power cut."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import lasts, wait_until
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

IMAGES = 300
DELAY = 0.1
"""Seconds that an image takes."""

AWAY_FOR = 45.0
"""Seconds: longer than a lease, and than two rounds of the health check that watches."""


@pytest.fixture
def share(machine: Machine) -> Path:
    """The lake of the machine, outside of its home."""
    lake = machine.folder / "nas" / "lake"
    lake.mkdir(parents=True)
    machine.environment["ANTENNA_LAKE_URI"] = str(lake)
    return lake


@contextmanager
def away(share: Path) -> Iterator[None]:
    """What is seen of a share that is not mounted: the empty folder below it. Nothing may be written there."""
    elsewhere = share.with_name("elsewhere")
    share.rename(elsewhere)
    share.mkdir()
    try:
        yield
        assert list(share.iterdir()) == []
    finally:
        share.rmdir()
        elsewhere.rename(share)


def test_the_share_of_the_lake_goes_away_under_a_job(machine: Machine, share: Path) -> None:
    machine.up()
    job = machine.null_job(IMAGES, delay_ms=DELAY * 1000)
    machine.under_way(job)
    with away(share):
        asyncio.run(lasts(AWAY_FOR))
        assert not machine.until(job, lambda _: True, description="can be seen").is_over
        with machine.explained(job):
            shown = json.loads(machine.antenna("jobs", "show", str(job), "--json").stdout)
            assert "is it mounted?" in shown["waiting_for"], shown
    since = time.monotonic()
    before = machine.until(job, lambda _: True, description="can be seen again")
    fault = f"the lake's share is away for {AWAY_FOR:.0f} s"
    machine.recovers(job, fault=fault, since=since, before=before, each=DELAY)
    machine.takes_up_another()


def test_the_share_of_the_lake_comes_later_than_the_machine(machine: Machine, share: Path) -> None:
    """Its tables were written below the mount point, where the next mount hid them."""
    machine.up()
    earlier = machine.null_job(5)
    machine.ends(earlier)
    job = machine.null_job(IMAGES, delay_ms=DELAY * 1000)
    before = machine.under_way(job)
    machine.power_loss()
    with away(share):
        machine.start()
        wait_until(lambda: "is empty, and was not" in machine.said(), description="it says what it waits for")
    mounted = time.monotonic()
    machine.wait_until_ready()
    fault = "power loss, and the lake's share comes later than the machine"
    machine.recovers(job, fault=fault, since=mounted, before=before, each=DELAY, lost=("worker",))
    machine.ends(earlier)
