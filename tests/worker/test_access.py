"""Workers that may not load a job's images, or may not take the job, beside others that may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from antenna_orchestration.domain.messages import Heartbeat
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from tests import waiting
from tests.loading.image_server import ImageServer, serving
from tests.processing.jobs_by_hand import claimed, hands, make_job
from tests.worker.bench import Bench, once_each
from tests.worker.worker_thread import running


@pytest.fixture
async def images() -> AsyncIterator[ImageServer]:
    async with serving() as running_server:
        yield running_server


async def tells(bench: Bench, field: str, job: int) -> Heartbeat:
    """The heartbeat of the worker that says this of the job."""

    async def said() -> Heartbeat | None:
        return next((one for one in await bench.heartbeats.workers() if str(job) in getattr(one, field)), None)

    found = await waiting.eventually(said, description=f"job {job} among {field}")
    assert found is not None
    return found


@pytest.mark.long
async def test_a_job_of_another_version_is_named_and_left_alone(
    bench: Bench, settings: Settings, pictures: list[str]
) -> None:
    """A1: `workers` and `jobs show` tell what the heartbeat says; such a worker leaves when it is idle."""
    job = await bench.submit(pictures, announce=False)
    await bench.announcements.announce(msgspec.structs.replace(job.announcement, pipeline_version="0"))
    with running(settings):
        beat = await tells(bench, "refused", job.job)
    assert "it was submitted for null 0, here is" in beat.refused[str(job.job)]
    with running(settings, WorkerOptions(exit_when_idle=0.5)) as worker:
        assert (await worker.leaves()).done == 0
    assert (await bench.counts(job)).delivered == 0


@pytest.mark.slow
async def test_a_worker_stays_while_images_are_forbidden_and_takes_them_later(
    bench: Bench, settings: Settings, images: ImageServer
) -> None:
    """A1: it left when idle, and the autoscaler started another in its place, every two minutes."""
    images.outage = 403
    job = await bench.submit([images.uri(f"good/{number}") for number in range(5)])
    with running(settings, WorkerOptions(exit_when_idle=0.5)) as worker:
        beat = await tells(bench, "forbidden", job.job)
        assert "HTTP 403 Forbidden from 127.0.0.1, since 20" in beat.forbidden[str(job.job)]
        images.outage = None
        once_each(await bench.results(job))
        await bench.withdraw(job)
        assert (await worker.leaves()).done == 5


@pytest.mark.slow
async def test_of_two_workers_the_one_with_access_gets_the_images(
    bench: Bench, settings: Settings, images: ImageServer
) -> None:
    """A1: none fails for what the other one lacks."""

    def with_store(path: str) -> Settings:
        update: dict[str, Any] = {"s3_endpoint_url": images.uri(path), "s3_anonymous": True}
        return settings.model_copy(update=update)

    job = await bench.submit([f"s3://bucket/{number}.jpg" for number in range(20)])
    with running(with_store("denied"), WorkerOptions(name="without")):
        beat = await tells(bench, "forbidden", job.job)
        assert "bucket bucket: HTTP 403 AccessDenied" in beat.forbidden[str(job.job)]
        with running(with_store(""), WorkerOptions(name="with")):
            results = once_each(await bench.results(job))
    assert {(result.outcome, result.worker) for result in results.values()} == {("done", "with")}


@pytest.mark.slow
async def test_a_fresh_worker_fails_what_nobody_may_load(services: Services, project: str, images: ImageServer) -> None:
    """A1: it has loaded nothing of the job itself, and learns from the collector that other images are done."""
    urls = [images.uri("good/1"), images.uri("good/2"), images.uri("status/403")]
    job = await claimed(services, await make_job(services, project, 3, urls=urls))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as by_hand:
        for lease in await by_hand.lease(job, 3):
            if "403" in lease.task.uri:
                await lease.hand_back()
            else:
                await by_hand.report([lease])
    told: list[str] = []
    observer = collect.Observer(on_milestone=told.append)
    collecting = asyncio.create_task(collect.collect(services, job, observer=observer))
    settings = services.settings.model_copy(update={"device": "cpu", "worker_threads": 1, "allow_private_hosts": True})
    with running(settings, WorkerOptions(pipelines=("null",))):
        counts = await asyncio.wait_for(collecting, 180)
    assert (counts.done, counts.failed) == (2, 1)
    await finish.write_final_tables(services, job)
    [failed] = services.lake.read_table("failed_images", job.job_id).to_pylist()
    assert "HTTP 403 Forbidden from 127.0.0.1, since 20" in failed["reason"]
    assert any(line.startswith("The job waits: no worker may load its images") for line in told)
