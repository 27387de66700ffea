"""How often an image is tried that workers report errors about, where no lease ends by itself meanwhile."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.processing import image_life
from antenna_orchestration.processing.services import Services, prepare
from tests.gateway.gateway_process import (
    RunningGateway,
    collected,
    file_job,
    http_worker,
    job_for_http,
    rows,
    running_gateway,
)
from tests.gateway.http_worker import Task, working
from tests.gateway.reporting_worker import broken, photograph, reporting_worker
from tests.gateway.test_leases import failures, leased, successes
from tests.homes import temporary_folder
from tests.waiting import eventually, wait_until

pytestmark = pytest.mark.long

LEASE = 60.0
"""Seconds, of both kinds: longer than any test here takes on a busy machine."""


@pytest.fixture
def task_ack_wait() -> float:
    return LEASE


@pytest.fixture(scope="module")
def shared_stores(template: Path) -> Iterator[EmbeddedStores]:
    """Stores without the other tests' gateway, whose leases are short."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        asyncio.run(prepare(stores.settings))
        yield stores


@pytest.fixture(scope="module")
def gateway(shared_stores: EmbeddedStores) -> Iterator[RunningGateway]:
    leases = {"ANTENNA_TASK_ACK_WAIT": str(LEASE), "ANTENNA_HTTP_LEASE": str(LEASE)}
    with running_gateway(shared_stores, **leases) as started:
        yield started


async def test_a_broken_photograph_is_tried_once(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    await job_for_http(services, project, 0)
    files = [*(photograph(tmp_path, f"{number}.jpg") for number in range(3)), broken(tmp_path, "broken.jpg")]
    job = await file_job(services, project, files)
    worker = await reporting_worker(services, gateway, project)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    (failed,) = rows(services, "failed_images", job)
    assert failed["url"].endswith("broken.jpg") and failed["attempts"] == 1
    assert failed["reason"] == "failed to load image; the orchestrator cannot read it either: not an image"
    assert len(worker.images) == 4
    life = await image_life.read(services, job.job_id, ImageId(failed["image_id"]))
    assert life.unknown == [] and "leased" in [moment.what for moment in life.moments]


async def test_a_client_that_reports_only_errors_gets_whole_batches(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 64)
    worker = await reporting_worker(services, gateway, project, always="no such species", batch_size=16)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.FAILURE
    # Not one image a call, as it was from the third delivery on.
    assert len(worker.answers) <= 40, worker.answers
    assert len(worker.images) == 128


async def test_of_a_batch_that_failed_only_the_bad_image_fails(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    """It can be read; it is the worker that breaks on it, and reports all images that it had at the same time."""
    await job_for_http(services, project, 0)
    files = [photograph(tmp_path, f"{number}.jpg") for number in range(5)]
    files.insert(2, photograph(tmp_path, "odd.jpg", "odd"))
    job = await file_job(services, project, files)
    worker = await reporting_worker(services, gateway, project)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    (failed,) = rows(services, "failed_images", job)
    assert failed["url"].endswith("odd.jpg") and failed["reason"].startswith("Batch processing error")
    assert worker.answers == [6] + [1] * 6
    assert len(worker.reported) == 7


async def test_with_the_culprit_known_the_others_stay_a_batch(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    await job_for_http(services, project, 0)
    files = [photograph(tmp_path, "one.jpg"), photograph(tmp_path, "two.jpg"), broken(tmp_path, "broken.jpg")]
    job = await file_job(services, project, files)
    worker = await reporting_worker(services, gateway, project, breaks_on_files=True)
    with working(worker):
        async with collected(services, job) as ends:
            pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert [row["url"].rpartition("/")[2] for row in rows(services, "failed_images", job)] == ["broken.jpg"]
    assert worker.answers == [3, 2]


async def test_a_further_try_is_another_workers(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    await job_for_http(services, project, 0)
    job = await file_job(services, project, [photograph(tmp_path, f"{number}.jpg") for number in range(3)])
    bad = await reporting_worker(services, gateway, project, always="failed to load image")
    good = await reporting_worker(services, gateway, project)
    with working(bad):
        await asyncio.to_thread(wait_until, lambda: len(bad.reported) == 3, description="errors about all images")
        with working(good):
            async with collected(services, job) as ends:
                pass
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert not rows(services, "failed_images", job)
    assert len(bad.images) == 3 and len(good.images) == 3


async def test_a_reported_error_is_tried_once_more_and_then_final(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """The gateway cannot look at these images: their addresses are not public ones."""
    job = await job_for_http(services, project, 3)
    worker = await http_worker(services, gateway, project)
    tasks = leased(worker, job.job_id, 3)
    async with collected(services, job, timeout=60):
        assert await asyncio.to_thread(worker.post, job.job_id, failures(tasks, "it is a kettle"))
        assert worker.statuses == ["retry"] * 3

        async def again() -> list[Task]:
            return await asyncio.to_thread(leased, worker, job.job_id, 3)

        found: list[Task] = []
        while len(found) < 3:
            found += await eventually(again, description="the images are offered again", poll=0.5)
        assert await asyncio.to_thread(worker.post, job.job_id, successes(found[1:]))
        assert await asyncio.to_thread(worker.post, job.job_id, failures(found[:1], "it is a teapot"))
    (failed,) = rows(services, "failed_images", job)
    assert (failed["reason"], failed["attempts"]) == ("it is a teapot", 2)
