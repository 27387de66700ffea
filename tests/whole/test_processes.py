"""Each process of a machine killed or stopped, and pairs of them within seconds.

A seed draws the pairs, and their ids name them: CHAOS_SEED=1234 CHAOS_PAIRS=66 make chaos
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time

import psutil
import pytest

from tests.waiting import lasts
from tests.whole.machine import PARTS, Machine
from tests.whole.seeds import SEED

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

IMAGES = 150
DELAY = 0.1
"""Seconds that an image takes."""

STOPPED_FOR = 75.0
"""Seconds: longer than any lease, heartbeat or tick that others wait for."""

OUTLASTS = 1200
"""Images of a job that is under way when the stopped process goes on: the work of two minutes."""

SECONDS_BETWEEN = 3.0
"""Most seconds between the ends of two processes."""


def _pairs() -> list[tuple[str, str]]:
    pairs = list(itertools.permutations(PARTS, 2))
    # Each pair in one of its orders.
    random.Random(f"pairs {SEED}").shuffle(pairs)
    chosen = {frozenset(pair): pair for pair in pairs}
    return list(chosen.values())[: int(os.environ.get("CHAOS_PAIRS", "10"))]


@pytest.mark.parametrize("name", PARTS)
def test_a_process_is_killed(lasting: Machine, name: str) -> None:
    job = lasting.null_job(IMAGES, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    struck = lasting.kill(name)
    lasting.up_again_if_ended(name)
    lasting.recovers(job, fault=f"{name} killed", since=struck, before=before, each=DELAY, lost=(name,))
    lasting.takes_up_another()


@pytest.mark.parametrize("names", _pairs(), ids=" then ".join)
def test_two_processes_are_killed_within_seconds(lasting: Machine, names: tuple[str, str]) -> None:
    job = lasting.null_job(IMAGES, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    first, second = (lasting.part(name) for name in names)
    first.kill()
    asyncio.run(lasts(random.Random("".join(names)).uniform(0, SECONDS_BETWEEN)))
    # The first may have taken the second along.
    with contextlib.suppress(psutil.NoSuchProcess):
        second.kill()
    struck = time.monotonic()
    lasting.up_again_if_ended(*names)
    fault = f"{' then '.join(names)} killed"
    lasting.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=names)
    lasting.takes_up_another()


@pytest.mark.parametrize("name", PARTS)
def test_a_process_stands_still(lasting: Machine, name: str) -> None:
    job = lasting.null_job(OUTLASTS, delay_ms=DELAY * 1000)
    lasting.under_way(job)
    go_on = lasting.stop(name)
    try:
        asyncio.run(lasts(STOPPED_FOR))
    finally:
        go_on()
    since = time.monotonic()
    # PostgreSQL was away, and nobody could look.
    before = lasting.until(job, lambda _: True, description="can be seen again")
    assert not before.is_over, f"it was too late: {before}"
    lasting.up_again_if_ended()
    fault = f"{name} stopped for {STOPPED_FOR:.0f} s"
    lasting.recovers(job, fault=fault, since=since, before=before, each=DELAY)
    lasting.takes_up_another()
