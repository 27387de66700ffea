"""What the health check clears, and what it leaves alone, on real stores."""

import dataclasses

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.lake import rows
from antenna_orchestration.processing import cancel, collect, finish, health, publish, rebuild
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import names, payloads
from antenna_orchestration.queue.payloads import Payloads
from antenna_orchestration.queue.publisher import Publisher
from tests.processing.jobs import claimed, hands, make_job, result_of
from tests.waiting import eventually


async def running_job(stack: Services, project: str, images: int) -> Job:
    job = await claimed(stack, await make_job(stack, project, images))
    await publish.publish(stack, job.job_id)
    return await stack.catalog.jobs.get(job.job_id)


async def leftovers(stack: Services, job: Job, *, dry_run: bool = False) -> list[str]:
    """What one round says it cleared of the job."""
    report = await health.check(stack, dry_run=dry_run)
    result = next(result for result in report.results if result.name == "leftovers")
    return [line for line in result.details if line.startswith(f"job {job.job_id},")]


async def test_a_late_result_of_a_finished_job_is_cleared_unless_the_round_is_dry(
    stack: Services, project: str
) -> None:
    job = await running_job(stack, project, 3)
    async with hands(stack) as worker:
        leases = await worker.lease(job, 3)
        await cancel.cancel(stack, job.job_id, reason="test")
        await worker.report(leases)
    late = {lease.task.image for lease in leases}
    for _ in range(2):
        assert await leftovers(stack, job, dry_run=True)
        assert await stack.queue.unread_results(job.job_id, job.generation) == late
    assert await leftovers(stack, job)
    assert not await stack.queue.unread_results(job.job_id, job.generation)
    assert not await leftovers(stack, job)


async def test_a_late_task_of_a_finished_job_is_cleared(stack: Services, project: str) -> None:
    job = await running_job(stack, project, 3)
    images = await stack.catalog.images.to_publish_again(
        job.job_run,
        sorted(await stack.queue.waiting(job.pipeline, job.job_id, job.generation)),
    )
    await cancel.cancel(stack, job.job_id, reason="test")
    await publish.republish(stack, job, images)
    assert len(await stack.queue.waiting(job.pipeline, job.job_id, job.generation)) == 3
    assert await leftovers(stack, job)
    assert not await stack.queue.waiting(job.pipeline, job.job_id, job.generation)


async def test_a_live_job_is_left_alone(stack: Services, project: str) -> None:
    job = await running_job(stack, project, 5)
    async with hands(stack) as worker:
        await worker.report(await worker.lease(job, 2))
    unread = await stack.queue.unread_results(job.job_id, job.generation)

    async def settled() -> set[ImageId]:
        found = await stack.queue.waiting(job.pipeline, job.job_id, job.generation)
        return found if len(found) == 3 else set()

    waiting = await eventually(settled, description="two of five tasks are settled")
    assert len(unread) == 2 and not unread & waiting
    assert not await leftovers(stack, job)
    assert await stack.queue.waiting(job.pipeline, job.job_id, job.generation) == waiting
    assert await stack.queue.unread_results(job.job_id, job.generation) == unread
    assert job.epoch is not None and await stack.announcements.has(job.job_id, job.generation, job.epoch)
    assert (await stack.catalog.jobs.get(job.job_id)).status is JobStatus.RUNNING
    await cancel.cancel(stack, job.job_id, reason="done")


async def test_an_orphaned_payload_goes_and_that_of_a_live_job_stays(stack: Services, project: str) -> None:
    over = await running_job(stack, project, 1)
    live = await running_job(stack, project, 1)
    await cancel.cancel(stack, over.job_id, reason="test")
    orphan, wanted = (names.payload_name(job.job_id, job.generation, ImageId(1), "0" * 64) for job in (over, live))
    async with Publisher(stack.connection) as publisher:
        store = Payloads(stack.connection, publisher)
        for name in (orphan, wanted):
            await store.put(name, bytes(payloads.CHUNK_BYTES + 1))
        assert await leftovers(stack, over, dry_run=True)
        assert await store.get(orphan) is not None
        assert await leftovers(stack, over)
        assert await store.get(orphan) is None
        assert not await leftovers(stack, over)
        assert await store.get(wanted) is not None
        await cancel.cancel(stack, live.job_id, reason="done")
        assert await store.get(wanted) is None
    kept = await stack.connection.jetstream().stream_info(payloads.STREAM)
    assert kept.state.messages == 0


async def test_parts_of_a_job_whose_finisher_died_go_with_the_rest(stack: Services, project: str) -> None:
    job = await running_job(stack, project, 1)
    async with hands(stack) as worker:
        leases = await worker.lease(job, 1)
        await worker.report(leases)
    async with stack.results(job.job_id, job.generation) as feed:
        collector = collect.Collector(services=stack, job=job, run_id="run", observer=collect.Observer())
        await collector.commit(await feed.pull(1, wait=5.0))
    stack.lake.write_part(job.job_id, "part", rows.tables_of([result_of(leases[0])]))
    assert await stack.catalog.jobs.finish(job.job_run, JobStatus.SUCCESS, None, collected=True)
    assert await leftovers(stack, job, dry_run=True)
    assert stack.lake.has_part(job.job_id, "part", ["detections"])
    assert await leftovers(stack, job)
    assert not stack.lake.has_part(job.job_id, "part", ["detections"])
    assert job.epoch is not None and not await stack.announcements.has(job.job_id, job.generation, job.epoch)


async def test_parts_go_although_nothing_is_left_on_the_queue(stack: Services, project: str) -> None:
    """A collector that wrote on after the job's end, or a clean-up that the lake refused."""
    over, canceled = await running_job(stack, project, 1), await running_job(stack, project + "-b", 1)
    async with hands(stack) as worker:
        leases = await worker.lease(over, 1)
        await worker.report(leases)
    await collect.collect(stack, over, run_id="run", observer=collect.Observer())
    await finish.write_final_tables(stack, over)
    assert await finish.finish_job(stack, over) is JobStatus.SUCCESS
    await cancel.cancel(stack, canceled.job_id, reason="test")
    for job in (over, canceled):
        stack.lake.write_part(job.job_id, "late", rows.tables_of([result_of(leases[0])]))
    await health.check(stack, dry_run=True)
    assert {over.job_id, canceled.job_id} <= stack.lake.jobs_with_parts()
    await health.check(stack)
    # A retry of the canceled one goes on from its parts.
    assert over.job_id not in stack.lake.jobs_with_parts() and canceled.job_id in stack.lake.jobs_with_parts()


async def test_counters_of_a_finished_job_go(stack: Services, project: str) -> None:
    job = await running_job(stack, project, 1)
    await rebuild.rebuild(stack, job.job_id)
    counters = await stack.progress.read(job.job_id, job.generation)
    assert counters is not None
    await cancel.cancel(stack, job.job_id, reason="test")
    await stack.progress.write(job.job_id, job.generation, counters)
    assert await leftovers(stack, job)
    assert await stack.progress.read(job.job_id, job.generation) is None


async def test_chunks_of_an_upload_that_never_ended_go_with_their_job(stack: Services, project: str) -> None:
    job = await running_job(stack, project, 1)
    js = stack.connection.jetstream()
    subject = f"$O.{names.PAYLOADS_BUCKET}.C.{job.job_id}-{job.generation}-0123456789abcdef"
    await js.publish(subject, b"half of a result")
    assert not await leftovers(stack, job)
    await cancel.cancel(stack, job.job_id, reason="test")
    await js.publish(subject, b"and a late one")
    assert await leftovers(stack, job)
    assert not await leftovers(stack, job)


async def test_a_store_that_is_out_ends_the_check_but_not_the_round(
    stack: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await running_job(stack, project, 1) for _ in range(health.OUTAGE_AFTER + 2)]
    asked: list[JobId] = []

    async def find(job: JobId) -> Job | None:
        asked.append(job)
        raise errors.Unavailable("out")

    with monkeypatch.context() as patched:
        patched.setattr(stack.catalog.jobs, "find", find)
        # `get` goes by `find`, so that only the check of leftovers is of interest here.
        report = await health.check(stack, dry_run=True)
    result = report.results[3]
    assert "the check itself failed: out" in result.details and result.checked == health.OUTAGE_AFTER
    assert report.results[4].unfixable == 0
    for job in jobs:
        await cancel.cancel(stack, job.job_id, reason="done")


async def test_a_claimed_job_that_waits_for_its_run_needs_nobody(
    stack: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed_long_ago = dataclasses.replace(await make_job(stack, project, 1), status=JobStatus.CLAIMED)
    silent = await running_job(stack, project, 1)

    async def suspects(**_: object) -> list[Job]:
        return [claimed_long_ago, silent]

    with monkeypatch.context() as patched:
        patched.setattr(stack.catalog.jobs, "suspects", suspects)
        report = await health.check(stack, dry_run=True)
    result = report.results[1]
    assert result.unfixable == 1
    assert any(line.startswith(f"job {claimed_long_ago.job_id} was claimed") for line in result.details)
    for job in (claimed_long_ago, silent):
        await cancel.cancel(stack, job.job_id, reason="done")
