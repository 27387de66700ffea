"""What NATS and Redis lost of a job is put back from the catalog, whichever is wiped, and no more than that."""

from __future__ import annotations

import os

import pytest
import redis

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import cancel, collect, finish, publish, reconcile
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import names
from tests.embedded import torn_files
from tests.processing.jobs_by_hand import claimed, hands, make_job
from tests.waiting import eventually


async def wipe_nats(services: Services) -> None:
    js = services.connection.jetstream(timeout=60)
    for stream in await js.streams_info():
        await js.delete_stream(str(stream.config.name))


async def wipe_redis(services: Services) -> None:
    with redis.Redis.from_url(services.settings.redis_url) as client:
        client.flushall()


@pytest.mark.long
@pytest.mark.parametrize("wiped", ["nats", "redis", "both"])
async def test_a_wiped_store_in_the_middle_of_a_job(own_services: Services, project: str, wiped: str) -> None:
    services = own_services
    job = await claimed(services, await make_job(services, project, 30))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 10))
        async with services.results(job.job_run) as feed:
            received = await feed.pull(10, wait=5.0)
            await collect.Collector(services=services, job=job, observer=collect.Observer()).commit(received)
            await feed.acknowledge(received)
        # Three results that no collector has seen, and three leases.
        await worker.report(await worker.lease(job, 3))
        held = await worker.lease(job, 3)
        await reconcile.rebuild(services, job.job_id)
        assert not (await reconcile.rebuild(services, job.job_id)).is_needed

        if wiped != "redis":
            await wipe_nats(services)
        if wiped != "nats":
            await wipe_redis(services)
        lost = 20 if wiped != "redis" else 0
        for dry_run in (True, False):
            found = await reconcile.rebuild(services, job.job_id, dry_run=dry_run)
            assert (found.lost, found.reopened, found.counters) == (lost, wiped != "redis", wiped != "nats")
        assert not (await reconcile.rebuild(services, job.job_id)).is_needed
        counters = await services.live.counters.read(job.job_run)
        assert counters is not None and (counters.done, counters.total) == (10, 30)

        # Who held a lease before reports all the same, and acknowledges nobody else's task.
        await worker.report(held)
        job = await services.catalog.jobs.get(job.job_id)
        left = len(await services.queue.waiting(job.pipeline, job.job_run))
        await worker.report(await worker.lease(job, left))
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed) == (30, 0)
    await finish.write_final_tables(services, job)
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS
    images = services.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
    assert len(images) == len(set(images)) == 30


def tear(stores: EmbeddedStores, kept: dict[str, float]) -> None:
    """NATS stops, its consumers' positions written, and the ends of its streams' files are lost."""
    stores.stop("nats")
    for stream, share in kept.items():
        (block,) = (stores.settings.home / "nats").rglob(f"{stream}/msgs/*.blk")
        os.truncate(block, int(block.stat().st_size * share))
    stores.start("nats")


async def tasks_in_stream(services: Services, job: Job) -> set[ImageId] | None:
    """None while the queue cannot be reached."""
    try:
        return await services.queue.waiting(job.pipeline, job.job_run)
    except errors.Unavailable:
        return None


async def has_six_tasks(services: Services, job: Job) -> bool:
    return len(await tasks_in_stream(services, job) or ()) == 6


@pytest.mark.slow
async def test_tasks_that_a_torn_queue_never_delivers_are_published_again(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    services = own_services
    job = await claimed(services, await make_job(services, project, 30))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 24))
        await eventually(lambda: has_six_tasks(services, job), description="the others are acknowledged")
        # Half of the results are gone, and most of the tasks that were acknowledged are back, where no consumer looks.
        tear(own_stores, {names.TASKS: 0.7, names.RESULTS: 0.5})
        back = await eventually(lambda: tasks_in_stream(services, job), description="the tasks are listed")
        assert back
        lost = 30 - len(await services.queue.unread_results(job.job_run))
        assert lost
        for dry_run in (True, False):
            found = await reconcile.reconcile(services, job.job_id, dry_run=dry_run)
            assert (found.lost, found.reopened) == (lost, True)
        assert await reconcile.reconcile(services, job.job_id) == reconcile.Reconciled()
        job = await services.catalog.jobs.get(job.job_id)
        await worker.report(await worker.lease(job, lost))
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed) == (30, 0)
    await cancel.cancel(services, job.job_id, reason="done")


@pytest.mark.long
@pytest.mark.parametrize("kind", [*torn_files.KINDS, "zeros"])
@pytest.mark.parametrize("file", ["o.dat", "meta.inf", "meta.sum"])
async def test_a_job_goes_on_after_its_consumer_was_torn(
    own_stores: EmbeddedStores, own_services: Services, project: str, file: str, kind: str
) -> None:
    services = own_services
    job = await claimed(services, await make_job(services, project, 30))
    await publish.publish(services, job.job_id, limit=10)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 4))
        own_stores.stop("nats")
        (torn,) = (own_stores.settings.home / "nats").rglob(f"{names.TASKS}/obs/*/{file}")
        torn_files.tear(torn, kind)
        own_stores.start("nats")
        if kind in ("empty", "zeros"):
            # What a file system leaves is cleared away.
            assert not torn.exists()
        await eventually(lambda: tasks_in_stream(services, job), description="the tasks are listed")
        published = await publish.publish(services, job.job_id)
        assert published.complete
        await reconcile.reconcile(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        await worker.report(await worker.lease(job, len(await services.queue.waiting(job.pipeline, job.job_run))))
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed) == (30, 0)
    await cancel.cancel(services, job.job_id, reason="done")


async def test_a_job_of_which_nothing_was_published_gets_its_first_tasks(services: Services, project: str) -> None:
    job = await make_job(services, project, 3)
    assert (await reconcile.rebuild(services, job.job_id)).lost == 3
    assert len(await services.queue.waiting(job.pipeline, job.job_run)) == 3
    await cancel.cancel(services, job.job_id, reason="done")


async def test_of_a_job_that_is_over_nothing_is_put_back(services: Services, project: str) -> None:
    job = await make_job(services, project, 3)
    await cancel.cancel(services, job.job_id, reason="done")
    with pytest.raises(errors.Conflict, match="CANCELED"):
        await reconcile.rebuild(services, job.job_id)
    assert (job.job_id, job.generation) not in await services.queue.jobs_on_queue()
