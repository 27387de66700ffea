"""Every way to a job's end that is not the straight one: no row lost, none doubled, no early success."""

import shutil
from pathlib import Path

from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import cancel, collect, finish, publish, retry
from antenna_orchestration.processing.services import Services
from tests.processing.jobs import Hands, claimed, hands, make_job

DONE, REST = 6, 4


async def collected(stack: Services, job: Job) -> collect.Counts:
    return await collect.collect(stack, job, run_id="run", observer=collect.Observer())


async def partly_done(stack: Services, worker: Hands, project: str) -> Job:
    """A running job of which some images are done, and committed, and the others wait."""
    job = await claimed(stack, await make_job(stack, project, DONE + REST))
    await publish.publish(stack, job.job_id)
    job = await stack.catalog.jobs.get(job.job_id)
    await worker.report(await worker.lease(job, DONE))
    async with stack.results(job.job_run) as feed:
        received = await feed.pull(DONE, wait=5.0)
        await collect.Collector(services=stack, job=job, run_id="run", observer=collect.Observer()).commit(received)
        await feed.acknowledge(received)
    assert (await stack.catalog.images.count(job.job_id)).done == DONE
    return job


async def retried_to_the_end(stack: Services, worker: Hands, job: Job) -> None:
    """Retry, process what is left, finish; every image has its one row."""
    await retry.retry(stack, job.job_id)
    job = await claimed(stack, await stack.catalog.jobs.get(job.job_id))
    await publish.publish(stack, job.job_id)
    if left := job.total - (await stack.catalog.images.count(job.job_id)).done:
        await worker.report(await worker.lease(job, left))
    await collected(stack, job)
    await finish.write_final_tables(stack, job)
    assert await finish.finish_job(stack, job) is JobStatus.SUCCESS
    rows(stack, job, DONE + REST)


def rows(stack: Services, job: Job, expected: int) -> None:
    images = stack.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
    assert len(images) == len(set(images)) == expected


async def test_a_job_given_up_keeps_its_rows_for_a_retry(stack: Services, project: str) -> None:
    async with hands(stack) as worker:
        job = await partly_done(stack, worker, project)
        assert await stack.catalog.jobs.finish(job.job_run, JobStatus.FAILURE, "given up")
        await publish.withdraw(stack, job)
        await retried_to_the_end(stack, worker, job)


async def test_a_job_canceled_in_the_middle_keeps_its_rows_for_a_retry(stack: Services, project: str) -> None:
    async with hands(stack) as worker:
        job = await partly_done(stack, worker, project)
        await cancel.cancel(stack, job.job_id, reason="a test")
        await retried_to_the_end(stack, worker, job)


async def test_a_job_canceled_after_its_tables_were_written_does_not_double_them(stack: Services, project: str) -> None:
    async with hands(stack) as worker:
        job = await partly_done(stack, worker, project)
        await worker.report(await worker.lease(job, REST))
        await collected(stack, job)
        await finish.write_final_tables(stack, job)
        rows(stack, job, DONE + REST)
        await cancel.cancel(stack, job.job_id, reason="at the last moment")
        await retried_to_the_end(stack, worker, job)


async def test_a_job_with_a_pending_image_cannot_succeed(stack: Services, project: str) -> None:
    async with hands(stack) as worker:
        job = await partly_done(stack, worker, project)
        assert await finish.finish_job(stack, job) is JobStatus.RUNNING
        await cancel.cancel(stack, job.job_id, reason="done")


async def test_the_images_of_a_lost_part_are_done_again(stack: Services, project: str) -> None:
    async with hands(stack) as worker:
        job = await partly_done(stack, worker, project)
        await worker.report(await worker.lease(job, REST))
        await collected(stack, job)
        parts = sorted((Path(stack.settings.lake) / "_parts" / f"job_id={job.job_id}").iterdir())
        shutil.rmtree(parts[0])
        (parts[1] / "detections.parquet").write_bytes(b"PAR1 damaged PAR1")
        written = await finish.write_final_tables(stack, job)
        assert len(written.lost_parts) == 2
        await worker.report(await worker.lease(job, DONE + REST))
        await collected(stack, job)
        assert not (await finish.write_final_tables(stack, job)).lost_parts
        assert await finish.finish_job(stack, job) is JobStatus.SUCCESS
        rows(stack, job, DONE + REST)


async def test_a_success_after_a_failure_is_counted_once(stack: Services, project: str) -> None:
    async with hands(stack) as worker:
        job = await claimed(stack, await make_job(stack, project, 3))
        await publish.publish(stack, job.job_id)
        job = await stack.catalog.jobs.get(job.job_id)
        collector = collect.Collector(services=stack, job=job, run_id="run", observer=collect.Observer())
        leases = await worker.lease(job, 3)
        async with stack.results(job.job_run) as feed:
            await worker.report(leases[:1], settle=False, outcome="failed", reason="at first", detections=[])
            await collector.commit(await feed.pull(1, wait=5.0))
            # The task was never acknowledged: somebody else does it, and well.
            await worker.report(leases[:1])
            await collector.commit(await feed.pull(1, wait=5.0))
        counts = await stack.catalog.images.count(job.job_id)
        assert (counts.done, counts.failed, counts.pending) == (1, 0, 2)
        await worker.report(leases[1:])
        final = await collected(stack, job)
        assert (final.done, final.failed, final.pending) == (3, 0, 0)
        await cancel.cancel(stack, job.job_id, reason="done")


async def test_publishing_makes_streams_that_are_gone(own_stack: Services, project: str) -> None:
    js = own_stack.connection.jetstream()
    job = await make_job(own_stack, project, 3)
    await publish.publish(own_stack, job.job_id, limit=1)
    for stream in ("TASKS", "RESULTS", "KV_jobs"):
        await js.delete_stream(stream)
    await publish.publish(own_stack, job.job_id)
    assert (job.job_id, 1) in await own_stack.announcements.read()
