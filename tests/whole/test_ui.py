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
from tests.whole.test_power_loss import MANY

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1500)]

DELAY = 0.1
"""Seconds that an image takes."""

OFF_FOR = 30.0
"""Seconds for which sensors are off: twice as long as a collector has to be silent to count as dead."""

TABLES = ("manifest", "image_tasks", "captures", "detections", "classifications", "failed_images", "job_report")

_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}


def delete_the_partition(machine: Machine, job: int) -> None:
    machine.asked(
        """mutation ($keys: [String!]!, $repository: RepositorySelector!) { deleteDynamicPartitions(
               partitionKeys: $keys, partitionsDefName: "processing_jobs", repositorySelector: $repository) {
               __typename ... on PythonError { message } } }""",
        "DeleteDynamicPartitionsSuccess",
        keys=[f"job-{job}"],
        repository=_REPOSITORY,
    )


def delete_the_run(machine: Machine, job: int) -> None:
    for run in machine.runs_of(job):
        machine.asked(
            "mutation ($run: String!) { deleteRun(runId: $run) { __typename ... on PythonError { message } } }",
            "DeletePipelineRunSuccess",
            run=run,
        )


def wipe_the_assets(machine: Machine, job: int) -> None:
    """Those of all jobs: Dagster's own storage wipes no single partition."""
    machine.asked(
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
        machine.asked(mutation, "Sensor", sensor=selector)
        return
    found = machine.graphql(
        """query ($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
               ... on Sensor { sensorState { id } } } }""",
        sensor=selector,
    )
    state: dict[str, Any] = found["sensorOrError"]["sensorState"]
    mutation = "mutation ($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }"
    machine.asked(mutation, "StopSensorMutationResult", id=state["id"])


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


@pytest.mark.parametrize("deed", DEEDS)
def test_something_is_deleted_while_a_run_waits(lasting: Machine, deed: str) -> None:
    # A project has two places for runs of such jobs.
    before = [lasting.null_job(20, delay_ms=2000, project="busy", interactive=True) for _ in range(2)]
    for other in before:
        lasting.until(other, lambda now: now.status == "RUNNING", description="has a place")
    job = lasting.null_job(20, project="busy", interactive=True)
    lasting.until(job, lambda now: now.status == "CLAIMED", description="is claimed")
    wait_until(lambda: lasting.runs_of(job), description="its run waits", poll=0.2)
    DEEDS[deed](lasting, job)
    assert lasting.progress(job).status == "CLAIMED", "it was too late"
    lasting.repeat("jobs", "cancel", *map(str, before))
    since = time.monotonic()
    lasting.recovers(job, fault=f"a job whose run waits, {deed}", since=since)
    lasting.takes_up_another()


@pytest.mark.parametrize("deed", DEEDS)
def test_something_is_deleted_while_a_job_is_published(lasting: Machine, deed: str) -> None:
    job = lasting.null_job(MANY)
    before = lasting.until(job, lambda now: now.status == "RUNNING", description="has a run", poll=0.005)
    assert before.published < before.total, f"it was too late: {before}"
    DEEDS[deed](lasting, job)
    since = time.monotonic()
    lasting.recovers(job, fault=f"a job that is published, {deed}", since=since)
    lasting.takes_up_another()


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
def test_something_is_deleted_while_tables_are_written(lasting: Machine, deed: str) -> None:
    job = lasting.null_job(60, delay_ms=50)
    with lasting.held_while_finishing(job):
        DEEDS[deed](lasting, job)
    since = time.monotonic()
    lasting.recovers(job, fault=f"a job whose tables are written, {deed}", since=since)
    lasting.takes_up_another()


@pytest.mark.parametrize("deed", DEEDS)
def test_something_is_deleted_while_a_job_is_being_canceled(lasting: Machine, deed: str) -> None:
    job = lasting.null_job(200, delay_ms=DELAY * 1000)
    lasting.under_way(job)
    with lasting.catalog() as connection, connection.transaction():
        # What gives a job its final status waits for this, and what asks for its cancellation does not.
        connection.execute("LOCK TABLE job_generations IN SHARE MODE")
        command = lasting.type("jobs", "cancel", str(job))
        lasting.until(job, lambda now: now.status == "CANCELING", description="is being canceled")
        DEEDS[deed](lasting, job)
        assert lasting.progress(job).status == "CANCELING"
    assert command.wait(timeout=120) == 0
    since = time.monotonic()
    lasting.recovers(job, fault=f"a job that is being canceled, {deed}", since=since, status="CANCELED")
    lasting.repeat("jobs", "retry", str(job))
    lasting.until(job, lambda now: now.status != "CANCELED", description="is retried")
    lasting.ends(job)


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
