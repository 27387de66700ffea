"""Runs of workers in a code location of their own: executed there, terminated from the UI, lost with their host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from antenna_orchestration.resources import run_states
from tests.free_ports import free_ports
from tests.homes import temporary_folder
from tests.scale.remote_location import RemoteLocation, remote_location
from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

SLOWLY = '{"delay_ms": 100}'


@pytest.fixture
def stack(template: Path) -> Iterator[RunningStack]:
    """A stack that knows a second location, of which nothing is running yet."""
    with temporary_folder() as folder:
        [port] = free_ports(1)
        running = RunningStack(folder / ".antenna", template=template)
        running.environment |= {"ANTENNA_WORKER_LOCATIONS": f"gpu-1=127.0.0.1:{port}", "ANTENNA_AUTOSCALE": "0"}
        try:
            running.up()
            yield running
        finally:
            running.down()


@pytest.fixture
def remote(stack: RunningStack) -> Iterator[RemoteLocation]:
    port = int(stack.environment["ANTENNA_WORKER_LOCATIONS"].rpartition(":")[2])
    with remote_location(stack, name="gpu-1", port=port, folder=stack.home.parent / "gpu-1") as location:
        location.wait_until_shown()
        yield location


def workers(stack: RunningStack) -> list[dict[str, Any]]:
    return list(json.loads(stack.antenna("workers", "--json").stdout))


def listening(stack: RunningStack, run: str) -> dict[str, Any]:
    """The worker of a run, once it listens."""
    return wait_until(
        lambda: next((worker for worker in workers(stack) if worker["run_id"] == run), None),
        description=f"a worker of run {run}",
        timeout=90,
        poll=0.5,
    )


def status(stack: RunningStack, run: str) -> str:
    found = stack.graphql("query ($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }", run=run)[
        "runOrError"
    ]
    return str(found["status"])


def leased(stack: RunningStack, run: str) -> int:
    return int(listening(stack, run)["leased"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_of_another_location_works_is_terminated_and_is_lost(
    stack: RunningStack, remote: RemoteLocation, tmp_path: Path
) -> None:
    # It executes there.
    run = remote.launch()
    there = listening(stack, run)
    assert remote.pid in [parent.pid for parent in psutil.Process(there["pid"]).parents()]
    images = blank_images(tmp_path / "trap", 400)
    stack.wait_for(stack.submit(images, "--pipeline", "null", "--limit", "40"))

    # Terminated from the UI it hands back what it holds: all of it is done by the next, at once and once.
    job = stack.submit(images, "--pipeline", "null", "--reprocess", "--config", SLOWLY)
    wait_until(lambda: leased(stack, run) and stack.job(job)["done"], description="it works", timeout=60, poll=0.3)
    ended = stack.graphql("mutation ($run: String!) { terminateRun(runId: $run) { __typename } }", run=run)[
        "terminateRun"
    ]
    assert ended["__typename"] == "TerminateRunSuccess"
    wait_until(lambda: status(stack, run) == "CANCELED", description="the run is canceled", timeout=60, poll=0.3)
    assert not workers(stack), "it did not sign off"
    assert not psutil.pid_exists(there["pid"])
    left = stack.job(job)
    assert left["status"] == "RUNNING" and left["done"] < left["total"]

    # The host dies with its runs; the run is ended, and the job goes on with the next worker.
    second = remote.launch()
    before = left["done"]
    listening(stack, second)
    wait_until(lambda: stack.job(job)["done"] > before, description="the second one works", timeout=60, poll=0.3)
    remote.kill()
    assert stack.job(job)["done"] < left["total"], "the job was over before the host died"
    with stack.background("worker", "--exit-when-idle", "2") as other:
        shown = stack.wait_for(job)
        other.wait(60)
    assert (shown["done"], shown["failed"], shown["detections"]) == (400, 0, 400)
    wait_until(
        lambda: status(stack, second) == "FAILURE",
        description="the lost run is ended",
        timeout=run_states.START_GRACE + run_states.SILENT_AFTER + 90,
        poll=1.0,
    )

    # And the host comes back.
    remote.start()
    remote.wait_until_shown()
    listening(stack, remote.launch())
