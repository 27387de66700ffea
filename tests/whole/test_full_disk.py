"""A disk below a machine is full while a job runs, and then there is room again: nobody helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.homes import temporary_folder
from tests.recoveries import Recovery
from tests.small_disks import filled, small_disk
from tests.waiting import lasts
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

IMAGES = 600
DELAY = 0.1
"""Seconds that an image takes."""

FULL_FOR = 45.0
"""Seconds: longer than a lease, and than most who wait for a store are patient with one call."""

DISKS = {
    "the lake": (Path("lake"), 20),
    "PostgreSQL": (Path("postgres"), 400),
    "NATS": (Path("nats"), 60),
    "Dagster's folder": (Path("dagster"), 20),
    "all of the home": (Path(), 700),
}
"""What lies on the disk, and how many megabytes that has."""


@contextmanager
def machine_on(disk: Path, megabytes: int, recoveries: list[Recovery]) -> Iterator[tuple[Machine, Path]]:
    """A machine of which one folder is a small disk."""
    with temporary_folder() as folder, small_disk(folder / ".antenna" / disk, megabytes=megabytes) as mounted:
        made = Machine(folder, recoveries)
        try:
            yield made, mounted
        finally:
            made.remove()


@pytest.mark.parametrize("full", DISKS)
def test_a_disk_is_full_for_a_while(full: str, recoveries: list[Recovery]) -> None:
    with machine_on(*DISKS[full], recoveries) as (machine, disk):
        machine.up()
        job = machine.null_job(IMAGES, delay_ms=DELAY * 1000)
        machine.under_way(job)
        with filled(disk):
            asyncio.run(lasts(FULL_FOR))
            # PostgreSQL may be down, and nobody can look.
        since = time.monotonic()
        before = machine.until(job, lambda _: True, description="can be seen again")
        fault = f"disk full for {FULL_FOR:.0f} s: {full}"
        machine.recovers(job, fault=fault, since=since, before=before, each=DELAY)
        machine.takes_up_another()
