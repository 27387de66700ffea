"""Fault J: processes of Dagster die below a running job. Dagster never notices an orphaned run; our heartbeat does."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from antenna_orchestration.embedded import stack
from tests.recoveries import Recovery
from tests.stack.antenna_up import RunningStack, blank_images
from tests.stack.test_kills import each_image_once, kill_unfinished, under_way

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

IMAGES = 200
DELAY = 0.1
"""Seconds that an image takes."""


def victim(running: RunningStack, job: int, which: str) -> psutil.Process:
    """The process to be killed."""
    if which == "run":
        return psutil.Process(running.run_of(job)["pid"])
    if which == "fork server":
        return psutil.Process(running.run_of(job)["pid"]).parent()
    status = stack.status(running.home)
    assert status is not None
    return psutil.Process(status.pids[which.replace(" ", "-")])


@pytest.mark.parametrize("which", ["run", "daemon", "code server", "fork server"])
def test_j_a_process_of_dagster_is_killed(
    running: RunningStack, recoveries: list[Recovery], tmp_path: Path, which: str
) -> None:
    job = running.submit(
        blank_images(tmp_path / "trap", IMAGES), "--pipeline", "null", "--config", f'{{"delay_ms": {DELAY * 1000}}}'
    )
    under_way(running, job)
    kill_unfinished(running, job, victim(running, job, which))
    since = time.monotonic()
    work = (IMAGES - running.job(job)["done"]) * DELAY
    each_image_once(running.wait_for(job), IMAGES)
    recoveries.append(Recovery(f"J the {which} killed", time.monotonic() - since, work))
    # Whatever died is there again, and takes up the next job.
    after = running.submit(blank_images(tmp_path / "after", 5), "--pipeline", "null")
    since = time.monotonic()
    each_image_once(running.wait_for(after), 5)
    recoveries.append(Recovery(f"J the {which} killed: a job submitted afterwards", time.monotonic() - since))
