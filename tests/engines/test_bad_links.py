"""Workers behind a long line that loses packets, in a network namespace of their own, with the real servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services, opened, prepare
from antenna_orchestration.queue.tasks import Waiting
from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.policy.load_concurrency import START
from tests.engines.bad_link import BadLink, bad_link, why_not
from tests.engines.docker_nats import nats_on
from tests.engines.image_host import image_host
from tests.processing.jobs_by_hand import claimed, make_job
from tests.recoveries import Recovery
from tests.waiting import eventually, lasts
from tests.worker.bench import once_each, open_bench
from tests.worker.worker_process import started

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engines,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.timeout(600),
]

SIZE = 100_000
"""Bytes of a photograph."""

CUT = 60.0
"""Seconds of a partition: longer than a lease, and than a client's patience with its server."""

DELAY_MS = 10
"""What the device takes for an image."""


@pytest.fixture
def link() -> Iterator[BadLink]:
    with bad_link(round_trip_ms=150, loss_percent=1) as made:
        yield made


def settings_of(home: Path, urls: dict[str, str]) -> Settings:
    return load(
        home=home / ".antenna", **urls, device="cpu", worker_threads=1, allow_private_hosts=True, task_ack_wait=30.0
    )


async def test_far_from_its_images_a_worker_loads_more_at_a_time(link: BadLink, tmp_path: Path) -> None:
    most = {}
    for name, there, images in (("near", (), 500), ("far", link.there, 3000)):
        with ExitStack() as stack:
            host = stack.enter_context(image_host(link.address, size=SIZE))
            settings = settings_of(tmp_path / name, stack.enter_context(nats_on(link.address)))
            async with open_bench(settings) as bench:
                stack.enter_context(started(settings, tmp_path, prefix=there))
                job = await bench.submit(host.uris(images), config={"delay_ms": DELAY_MS})
                assert len(once_each(await bench.results(job, timeout=300))) == images
            most[name] = host.counted()["most"]
    assert most["near"] <= START < most["far"]


async def test_a_small_web_server_is_not_flooded(tmp_path: Path) -> None:
    slots, images = 4, 400
    with image_host("127.0.0.1", size=SIZE, slots=slots, seconds=0.1) as host, nats_on("127.0.0.1") as urls:
        settings = settings_of(tmp_path, urls)
        async with open_bench(settings) as bench:
            job = await bench.submit(host.uris(images))
            with started(settings, tmp_path):
                results = once_each(await bench.results(job, timeout=300))
        counted = host.counted()
    assert {result.outcome for result in results.values()} == {"done"}
    assert counted["served"] == images
    # With 16 at a time, twelve of sixteen would be refused, each time.
    assert counted["refused"] < images / 4, counted


@pytest.fixture
async def stack(link: BadLink, own_stores: EmbeddedStores) -> AsyncIterator[Services]:
    """The orchestrator's side, whose NATS the site reaches over the link."""
    with nats_on(link.address) as urls:
        wanted = own_stores.settings.model_copy(
            update={**urls, "task_ack_wait": 30.0, "allow_private_hosts": True, "device": "cpu", "worker_threads": 1}
        )

        async def is_ready() -> bool:
            await prepare(wanted)
            return True

        await eventually(is_ready, description="the stores are ready")
        async with opened(wanted) as services:
            yield services


async def test_a_partition_loses_and_repeats_no_image_and_costs_its_length(
    link: BadLink, stack: Services, project: str, tmp_path: Path, recoveries: list[Recovery]
) -> None:
    images = 2000
    with image_host(link.address, size=SIZE) as host:
        job = await make_job(stack, project, images, urls=host.uris(images), config={"delay_ms": DELAY_MS})
        job = await claimed(stack, job)
        await publish.publish(stack, job.job_id)
        job = await stack.catalog.jobs.get(job.job_id)
        with started(stack.settings, tmp_path, prefix=link.there) as worker:
            collecting = asyncio.create_task(collect.collect(stack, job, observer=collect.Observer()))
            try:
                in_hand = await through_a_partition(link, stack, job, recoveries)
                counts = await asyncio.wait_for(collecting, 300)
                # What was in hand is handed out once more, and nothing else.
                assert (await queue(stack, job)).delivered <= images + in_hand
            finally:
                collecting.cancel()
            assert "Traceback" not in worker.log
    assert (counts.done, counts.failed, counts.total) == (images, 0, images)
    await finish.write_final_tables(stack, job)
    assert await finish.finish_job(stack, job) is JobStatus.SUCCESS
    rows = stack.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
    assert len(rows) == len(set(rows)) == images


async def queue(stack: Services, job: Job) -> Waiting:
    """The counters of the job's tasks."""
    assert job.epoch is not None
    found = await stack.queue.counts(job.job_run, job.epoch)
    assert found is not None
    return found


async def through_a_partition(link: BadLink, stack: Services, job: Job, recoveries: list[Recovery]) -> int:
    """Cut the link while the job is under way, and see how it goes on; returns how many tasks were in hand."""

    async def done() -> int:
        return (await stack.catalog.images.count(job.job_id)).done

    async def is_under_way() -> bool:
        return await done() >= 300

    await eventually(is_under_way, description="300 images", timeout=120)
    link.cut()
    await lasts(CUT)
    before, in_hand = await done(), (await queue(stack, job)).leased
    assert before + in_hand < job.total, "the job was over before the cut"
    link.mend()
    mended = time.monotonic()

    async def goes_on() -> bool:
        return await done() > before

    async def has_caught_up() -> bool:
        return await done() >= before + in_hand

    for what, is_so in (("goes on", goes_on), ("has done what it had in hand", has_caught_up)):
        await eventually(is_so, description=f"the job {what}", timeout=120)
        fault = f"a worker cut off for a minute, behind a bad link, until it {what}"
        recoveries.append(Recovery(fault, time.monotonic() - mended))
    return in_hand
