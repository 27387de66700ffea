"""Every way to a job's end that is not the straight one: no row lost, none doubled, no early success."""

import shutil
import tracemalloc
from pathlib import Path

import pytest

from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import cancel, clear_queue, collect, finish, publish, retry
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import Hands, claimed, hands, make_job

DONE, REST = 6, 4


async def collected(services: Services, job: Job) -> collect.Counts:
    return await collect.collect(services, job, observer=collect.Observer())


async def partly_done(services: Services, worker: Hands, project: str) -> Job:
    """A running job of which some images are done, and committed, and the others wait."""
    job = await claimed(services, await make_job(services, project, DONE + REST))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    await worker.report(await worker.lease(job, DONE))
    async with services.results(job.job_run) as feed:
        received = await feed.pull(DONE, wait=5.0)
        await collect.Collector(services=services, job=job, observer=collect.Observer()).commit(received)
        await feed.acknowledge(received)
    assert (await services.catalog.images.count(job.job_id)).done == DONE
    return job


async def retried_to_the_end(services: Services, worker: Hands, job: Job) -> None:
    """Retry, process what is left, finish; every image has its one row."""
    await retry.retry(services, job.job_id)
    job = await claimed(services, await services.catalog.jobs.get(job.job_id))
    await publish.publish(services, job.job_id)
    if left := job.total - (await services.catalog.images.count(job.job_id)).done:
        await worker.report(await worker.lease(job, left))
    await collected(services, job)
    await finish.write_final_tables(services, job)
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS
    rows(services, job, DONE + REST)


def rows(services: Services, job: Job, expected: int) -> None:
    images = services.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
    assert len(images) == len(set(images)) == expected


async def test_a_job_given_up_keeps_its_rows_for_a_retry(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await partly_done(services, worker, project)
        assert await services.catalog.jobs.finish(job.job_run, JobStatus.FAILURE, "given up")
        await clear_queue.clear_queue(services, job)
        await retried_to_the_end(services, worker, job)


async def test_a_job_canceled_in_the_middle_keeps_its_rows_for_a_retry(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await partly_done(services, worker, project)
        await cancel.cancel(services, job.job_id, reason="a test")
        await retried_to_the_end(services, worker, job)


async def test_a_job_canceled_after_its_tables_were_written_does_not_double_them(
    services: Services, project: str
) -> None:
    async with hands(services) as worker:
        job = await partly_done(services, worker, project)
        await worker.report(await worker.lease(job, REST))
        await collected(services, job)
        await finish.write_final_tables(services, job)
        rows(services, job, DONE + REST)
        await cancel.cancel(services, job.job_id, reason="at the last moment")
        await retried_to_the_end(services, worker, job)


async def test_a_job_with_a_pending_image_cannot_succeed(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await partly_done(services, worker, project)
        assert await finish.finish_job(services, job) is JobStatus.RUNNING
        await cancel.cancel(services, job.job_id, reason="done")


async def most_memory(services: Services, project: str, images: int) -> int:
    """The most bytes that Python holds while the manifest and the final tables of so many images are written."""
    job = await claimed(services, await make_job(services, project, images))
    tracemalloc.start()
    try:
        assert await finish.write_manifest(services, job) == images
        assert (await finish.write_final_tables(services, job)).rows["captures"] == images
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await cancel.cancel(services, job.job_id, reason="measured")
    return most


@pytest.mark.long
async def test_more_images_take_no_more_memory_to_write_down(services: Services, project: str) -> None:
    """C4: the whole manifest was in memory, so that a large job ended the run that finished it."""
    few, many = [await most_memory(services, project, images) for images in (20_000, 80_000)]
    assert many < 1.5 * few


async def test_the_images_of_a_lost_part_are_done_again(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await partly_done(services, worker, project)
        await worker.report(await worker.lease(job, REST))
        await collected(services, job)
        parts = sorted((Path(services.settings.lake) / "_parts" / f"job_id={job.job_id}").iterdir())
        shutil.rmtree(parts[0])
        (parts[1] / "detections.parquet").write_bytes(b"PAR1 damaged PAR1")
        written = await finish.write_final_tables(services, job)
        assert len(written.lost_parts) == 2
        await worker.report(await worker.lease(job, DONE + REST))
        await collected(services, job)
        assert not (await finish.write_final_tables(services, job)).lost_parts
        assert await finish.finish_job(services, job) is JobStatus.SUCCESS
        rows(services, job, DONE + REST)


async def test_a_success_after_a_failure_is_counted_once(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await claimed(services, await make_job(services, project, 3))
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        collector = collect.Collector(services=services, job=job, observer=collect.Observer())
        leases = await worker.lease(job, 3)
        async with services.results(job.job_run) as feed:
            await worker.report(leases[:1], acknowledge=False, outcome="failed", reason="at first", detections=[])
            await collector.commit(await feed.pull(1, wait=5.0))
            # The task was never acknowledged: somebody else does it, and well.
            await worker.report(leases[:1])
            await collector.commit(await feed.pull(1, wait=5.0))
        counts = await services.catalog.images.count(job.job_id)
        assert (counts.done, counts.failed, counts.pending) == (1, 0, 2)
        await worker.report(leases[1:])
        final = await collected(services, job)
        assert (final.done, final.failed, final.pending) == (3, 0, 0)
        await cancel.cancel(services, job.job_id, reason="done")


@pytest.mark.long
async def test_publishing_makes_streams_that_are_gone(own_services: Services, project: str) -> None:
    js = own_services.connection.jetstream(timeout=60)
    job = await make_job(own_services, project, 3)
    await publish.publish(own_services, job.job_id, limit=1)
    for stream in ("TASKS", "RESULTS", "KV_jobs"):
        await js.delete_stream(stream)
    await publish.publish(own_services, job.job_id)
    assert (job.job_id, 1) in await own_services.announcements.read()


async def test_rows_of_a_catalog_that_was_replaced_by_an_older_copy_go(services: Services, project: str) -> None:
    """It had retried the job, and the lake is newer than the copy: each image then had its rows twice."""
    async with hands(services) as worker:
        job = await partly_done(services, worker, project)
        await worker.report(await worker.lease(job, REST))
    await collected(services, job)
    await finish.write_final_tables(services, job)
    folder = Path(services.lake.table("detections", job.job_id))
    (of_then,) = folder.glob("part-g1-*.parquet")
    shutil.copy(of_then, folder / of_then.name.replace("g1", "g2"))
    await finish.write_final_tables(services, job)
    rows(services, job, DONE + REST)
