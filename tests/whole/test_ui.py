"""What people do to a machine that nobody meant: runs, partitions and assets deleted, sensors switched off, `up` twice.

Dagster's UI is spoken to as its own pages do: GraphQL of the running webserver.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from antenna_orchestration.domain.run_tags import LOCATION
from tests.stack.antenna_up import ANTENNA
from tests.waiting import lasts, wait_until
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1500)]

DELAY = 0.1
"""Seconds that an image takes."""

OFF_FOR = 30.0
"""Seconds for which sensors are off: twice as long as a collector has to be silent to count as dead."""

TABLES = ("manifest", "image_tasks", "captures", "detections", "classifications", "failed_images", "job_report")

_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}


def _asked(machine: Machine, mutation: str, expected: str, **variables: object) -> None:
    """Ask for a change, and see that it was made."""
    (answer,) = machine.graphql(mutation, **variables).values()
    assert answer["__typename"] == expected, answer


def delete_the_partition(machine: Machine, job: int) -> None:
    _asked(
        machine,
        """mutation ($keys: [String!]!, $repository: RepositorySelector!) { deleteDynamicPartitions(
               partitionKeys: $keys, partitionsDefName: "processing_jobs", repositorySelector: $repository) {
               __typename ... on PythonError { message } } }""",
        "DeleteDynamicPartitionsSuccess",
        keys=[f"job-{job}"],
        repository=_REPOSITORY,
    )


def delete_the_run(machine: Machine, job: int) -> None:
    for run in machine.runs("process_job", **{"dagster/partition": f"job-{job}"}):
        _asked(
            machine,
            "mutation ($run: String!) { deleteRun(runId: $run) { __typename ... on PythonError { message } } }",
            "DeletePipelineRunSuccess",
            run=run["runId"],
        )


def wipe_the_assets(machine: Machine, job: int) -> None:
    """Those of all jobs: Dagster's own storage wipes no single partition."""
    _asked(
        machine,
        """mutation ($ranges: [PartitionsByAssetSelector!]!) { wipeAssets(assetPartitionRanges: $ranges) {
               __typename ... on PythonError { message } } }""",
        "AssetWipeSuccess",
        ranges=[{"assetKey": {"path": [name]}} for name in TABLES],
    )


def sensors(machine: Machine) -> list[str]:
    """The names of all."""
    found = machine.graphql(
        """query ($repository: RepositorySelector!) { sensorsOrError(repositorySelector: $repository) {
               ... on Sensors { results { name } } } }""",
        repository=_REPOSITORY,
    )
    return sorted(sensor["name"] for sensor in found["sensorsOrError"]["results"])


def set_sensor(machine: Machine, name: str, *, on: bool) -> None:
    """The switch beside a sensor's name."""
    selector = {**_REPOSITORY, "sensorName": name}
    if on:
        mutation = """mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"""
        return _asked(machine, mutation, "Sensor", sensor=selector)
    found = machine.graphql(
        """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
               ... on Sensor { sensorState { id } } } }""",
        sensor=selector,
    )
    state: dict[str, Any] = found["sensorOrError"]["sensorState"]
    mutation = "mutation ($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }"
    return _asked(machine, mutation, "StopSensorMutationResult", id=state["id"])


@contextmanager
def _without(machine: Machine, *sensors: str) -> Iterator[None]:
    """With these sensors switched off for the length of a block."""
    for name in sensors:
        set_sensor(machine, name, on=False)
    try:
        yield
    finally:
        for name in sensors:
            set_sensor(machine, name, on=True)


DEEDS: dict[str, Callable[[Machine, int], None]] = {
    "its partition deleted": delete_the_partition,
    "its run deleted": delete_the_run,
    "its assets wiped": wipe_the_assets,
}


@pytest.mark.parametrize("deed", DEEDS)
def test_something_is_deleted_while_a_job_waits(lasting: Machine, deed: str) -> None:
    with _without(lasting, "queued_jobs"):
        job = lasting.null_job(30)
        DEEDS[deed](lasting, job)
    since = time.monotonic()
    lasting.recovers(job, fault=f"a queued job, {deed}", since=since)


@pytest.mark.parametrize("deed", ["its partition deleted", "its assets wiped"])
def test_something_is_deleted_while_a_job_runs(lasting: Machine, deed: str) -> None:
    job = lasting.null_job(200, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    DEEDS[deed](lasting, job)
    since = time.monotonic()
    lasting.recovers(job, fault=f"a running job, {deed}", since=since, before=before, each=DELAY)
    lasting.takes_up_another()


def test_a_job_whose_run_is_deleted_goes_on(lasting: Machine) -> None:
    job = lasting.null_job(200, delay_ms=DELAY * 1000)
    lasting.under_way(job)
    delete_the_run(lasting, job)
    lasting.recovers(job, fault="a running job's run deleted", since=time.monotonic())


@pytest.mark.parametrize("deed", DEEDS)
def test_something_is_deleted_once_a_job_is_over(lasting: Machine, deed: str) -> None:
    job = lasting.null_job(30)
    lasting.ends(job)
    DEEDS[deed](lasting, job)
    since = time.monotonic()
    lasting.recovers(job, fault=f"a finished job, {deed}", since=since)
    # It can be worked on again.
    again = lasting.repeat("submit", str(lasting.images(5)), "--pipeline", "null", "--wait", "--json")
    assert '"SUCCESS"' in again.stdout


def test_sensors_are_off_for_a_while(lasting: Machine) -> None:
    first = lasting.null_job(200, delay_ms=DELAY * 1000)
    before = lasting.under_way(first)
    with _without(lasting, *sensors(lasting)):
        second = lasting.null_job(20)
        lasting.kill("collector")
        asyncio.run(lasts(OFF_FOR))
    since = time.monotonic()
    lasting.recovers(
        first, fault="all sensors off, the collector killed meanwhile", since=since, before=before, each=DELAY
    )
    lasting.ends(second)


def test_up_is_typed_twice(lasting: Machine) -> None:
    job = lasting.null_job(150, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    since = time.monotonic()
    again = subprocess.run(
        [*ANTENNA, "up"],
        env=lasting.environment,
        cwd=lasting.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 1 and "already runs" in again.stderr, again
    lasting.recovers(job, fault="`antenna up` typed twice", since=since, before=before, each=DELAY)


def test_up_is_typed_twice_at_the_same_moment(machine: Machine) -> None:
    typed = []
    for _ in range(2):
        machine.start()
        assert machine.process is not None
        typed.append(machine.process)
    ended = wait_until(
        lambda: [one for one in typed if one.poll() is not None], description="one gives way", timeout=120
    )
    (machine.process,) = set(typed) - set(ended)
    assert ended[0].returncode == 1 and "already runs" in machine.log.read_text(), machine.log.read_text()
    machine.wait_until_ready()
    since = time.monotonic()
    job = machine.null_job(20)
    machine.recovers(job, fault="`antenna up` typed twice at the same moment", since=since)
