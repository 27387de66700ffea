"""Many jobs at once, and one image that somebody waits for."""

from pathlib import Path

import pytest

from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

ENDED = ("SUCCESS", "FAILURE", "CANCELED")


@pytest.fixture
def stack(own_stack_process: RunningStack) -> RunningStack:
    own_stack_process.up()
    return own_stack_process


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_jobs_submitted_at_once_all_succeed(stack: RunningStack, tmp_path: Path) -> None:
    images = blank_images(tmp_path / "trap", 20)
    jobs = [stack.submit(images, "--pipeline", "null", "--reprocess") for _ in range(25)]
    shown = [stack.wait_for(job, timeout=300) for job in jobs]
    assert [job["done"] for job in shown] == [20] * 25


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interactive_job_overtakes_long_ones(stack: RunningStack, tmp_path: Path) -> None:
    images = blank_images(tmp_path / "trap", 300)
    options = ("--pipeline", "null", "--reprocess")
    long = [stack.submit(images, *options, "--config", '{"delay_ms": 100}') for _ in range(12)]
    for job in long:
        wait_until(lambda job=job: stack.job(job)["done"] > 0, description=f"job {job} goes on", timeout=240)
    urgent = stack.submit(next(images.iterdir()), *options, "--interactive")
    assert stack.wait_for(urgent)["done"] == 1
    statuses = [stack.job(job)["status"] for job in long]
    assert not set(statuses) & set(ENDED), statuses
    for job in long:
        stack.antenna("jobs", "cancel", str(job))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_that_wait_for_a_worker_delay_no_other_project(stack: RunningStack, tmp_path: Path) -> None:
    """S6: twelve of them held all places of small jobs, as long as no worker came."""
    images = blank_images(tmp_path / "trap", 5)
    unserved = ("--pipeline", "null", "--reprocess", "--dispatch-mode", "sync_api")
    waiting = [stack.submit(images, "--project", "a", *unserved) for _ in range(12)]

    def places_taken() -> bool:
        return [stack.job(job)["status"] for job in waiting].count("RUNNING") >= 6

    wait_until(places_taken, description="the waiting jobs have their project's places", timeout=300)
    other = stack.submit(images, "--project", "b", "--pipeline", "null")
    assert stack.wait_for(other, timeout=300)["done"] == 5
    # Nor does it the project's own jobs, for which the runs that wait make room.
    own = stack.submit(images, "--project", "a", "--pipeline", "null", "--reprocess")
    assert stack.wait_for(own, timeout=300)["done"] == 5
    assert not {stack.job(job)["status"] for job in waiting} & set(ENDED)
    assert "another run begins when a worker has come" in stack.antenna("jobs", "logs", str(waiting[0])).stdout
