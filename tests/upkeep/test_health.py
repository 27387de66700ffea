"""What the health check clears, and what it leaves alone, on real stores."""

import dataclasses
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.lake import rows
from antenna_orchestration.processing import cancel, collect, finish, publish, reconcile
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import names, payloads
from antenna_orchestration.queue.payloads import Payloads
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.upkeep import health
from tests.processing.jobs_by_hand import claimed, hands, make_job, result_of
from tests.small_disks import small_disk
from tests.waiting import eventually

pytestmark = pytest.mark.long


async def running_job(services: Services, project: str, images: int) -> Job:
    job = await claimed(services, await make_job(services, project, images))
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


async def leftovers(services: Services, job: Job, *, dry_run: bool = False) -> list[str]:
    """What one round says it cleared of the job."""
    report = await health.check(services, dry_run=dry_run)
    result = next(result for result in report.results if result.name == "leftovers")
    return [line for line in result.details if line.startswith(f"job {job.job_id},")]


async def stored_of(services: Services, *jobs: Job) -> list[str]:
    """Subjects of the payloads' stream that are of these jobs: other tests may have left payloads of theirs."""
    found = await services.connection.jetstream(timeout=60).stream_info(payloads.STREAM, subjects_filter=">")
    entries = tuple(f"{job.job_id}/{job.generation}/" for job in jobs)
    return [
        subject
        for subject in found.state.subjects or {}
        if payloads.job_run_of_chunks(subject) in {job.job_run for job in jobs}
        or (payloads.name_of(subject) or "").startswith(entries)
    ]


async def test_a_late_result_of_a_finished_job_is_cleared_but_not_dry(services: Services, project: str) -> None:
    job = await running_job(services, project, 3)
    async with hands(services) as worker:
        leases = await worker.lease(job, 3)
        await cancel.cancel(services, job.job_id, reason="test")
        await worker.report(leases)
    late = {lease.task.image for lease in leases}
    for _ in range(2):
        assert await leftovers(services, job, dry_run=True)
        assert await services.queue.unread_results(job.job_run) == late
    assert await leftovers(services, job)
    assert not await services.queue.unread_results(job.job_run)
    assert not await leftovers(services, job)


async def test_a_late_task_of_a_finished_job_is_cleared(services: Services, project: str) -> None:
    job = await running_job(services, project, 3)
    images = await services.catalog.images.to_publish_again(
        job.job_run,
        sorted(await services.queue.waiting(job.pipeline, job.job_run)),
    )
    await cancel.cancel(services, job.job_id, reason="test")
    await publish.republish(services, job, images)
    assert len(await services.queue.waiting(job.pipeline, job.job_run)) == 3
    assert await leftovers(services, job)
    assert not await services.queue.waiting(job.pipeline, job.job_run)


async def test_a_live_job_is_left_alone(services: Services, project: str) -> None:
    job = await running_job(services, project, 5)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 2))
    unread = await services.queue.unread_results(job.job_run)

    async def acknowledged() -> set[ImageId]:
        found = await services.queue.waiting(job.pipeline, job.job_run)
        return found if len(found) == 3 else set()

    waiting = await eventually(acknowledged, description="two of five tasks are acknowledged")
    assert len(unread) == 2 and not unread & waiting
    assert not await leftovers(services, job)
    assert await services.queue.waiting(job.pipeline, job.job_run) == waiting
    assert await services.queue.unread_results(job.job_run) == unread
    assert job.epoch is not None and await services.announcements.has(job.job_run, job.epoch)
    assert (await services.catalog.jobs.get(job.job_id)).status is JobStatus.RUNNING
    await cancel.cancel(services, job.job_id, reason="done")


async def test_an_orphaned_payload_goes_and_that_of_a_live_job_stays(services: Services, project: str) -> None:
    over = await running_job(services, project, 1)
    live = await running_job(services, project, 1)
    await cancel.cancel(services, over.job_id, reason="test")
    large = bytes(payloads.CHUNK_BYTES + 1)
    orphan, wanted = (names.payload_name(job.job_run, ImageId(1), sha256(large).hexdigest()) for job in (over, live))
    async with Publisher(services.connection) as publisher:
        store = Payloads(services.connection, publisher)
        for name in (orphan, wanted):
            await store.put(name, large)
        # An entry and chunks of each.
        assert len(await stored_of(services, over, live)) == 4
        assert await leftovers(services, over, dry_run=True)
        assert await store.get(orphan) is not None
        assert await leftovers(services, over)
        assert await store.get(orphan) is None
        assert not await leftovers(services, over)
        assert await store.get(wanted) is not None
        await cancel.cancel(services, live.job_id, reason="done")
        assert await store.get(wanted) is None
    assert await stored_of(services, over, live) == []


async def test_parts_of_a_job_whose_finisher_died_go_with_the_rest(services: Services, project: str) -> None:
    job = await running_job(services, project, 1)
    async with hands(services) as worker:
        leases = await worker.lease(job, 1)
        await worker.report(leases)
    async with services.results(job.job_run) as feed:
        collector = collect.Collector(services=services, job=job, observer=collect.Observer())
        await collector.commit(await feed.pull(1, wait=5.0))
    services.lake.write_part(job.job_id, "part", rows.tables_of([result_of(leases[0])]))
    assert await services.catalog.jobs.finish(job.job_run, JobStatus.SUCCESS, None, collected=True)
    assert await leftovers(services, job, dry_run=True)
    assert services.lake.tables_of_part(job.job_id, "part", ["detections"])
    assert await leftovers(services, job)
    assert not services.lake.tables_of_part(job.job_id, "part", ["detections"])
    assert job.epoch is not None and not await services.announcements.has(job.job_run, job.epoch)


async def test_parts_go_although_nothing_is_left_on_the_queue(services: Services, project: str) -> None:
    """A collector that wrote on after the job's end, or a clean-up that the lake refused."""
    over, canceled = await running_job(services, project, 1), await running_job(services, project + "-b", 1)
    async with hands(services) as worker:
        leases = await worker.lease(over, 1)
        await worker.report(leases)
    await collect.collect(services, over, observer=collect.Observer())
    await finish.write_final_tables(services, over)
    assert await finish.finish_job(services, over) is JobStatus.SUCCESS
    await cancel.cancel(services, canceled.job_id, reason="test")
    for job in (over, canceled):
        services.lake.write_part(job.job_id, "late", rows.tables_of([result_of(leases[0])]))
    await health.check(services, dry_run=True)
    assert {over.job_id, canceled.job_id} <= services.lake.jobs_with_parts()
    await health.check(services)
    assert not {over.job_id, canceled.job_id} & services.lake.jobs_with_parts()


async def test_of_a_canceled_job_the_parts_stay_that_images_count_for(services: Services, project: str) -> None:
    job = await running_job(services, project, 2)
    async with hands(services) as worker:
        leases = await worker.lease(job, 1)
        await worker.report(leases)
    async with services.results(job.job_run) as feed:
        collector = collect.Collector(services=services, job=job, observer=collect.Observer())
        await collector.commit(await feed.pull(1, wait=5.0))
    # A collector died between the part and the commit.
    services.lake.write_part(job.job_id, "unnamed", rows.tables_of([result_of(leases[0])]))
    await health.check(services)
    assert "unnamed" in services.lake.parts(job.job_id), "the job is not over"
    await cancel.cancel(services, job.job_id, reason="test")
    await health.check(services)
    # A retry goes on from them.
    assert services.lake.parts(job.job_id) == set(await services.catalog.images.by_part(job.job_id)) != set()


async def test_counters_of_a_finished_job_go(services: Services, project: str) -> None:
    job = await running_job(services, project, 1)
    await reconcile.rebuild(services, job.job_id)
    counters = await services.live.counters.read(job.job_run)
    assert counters is not None
    await cancel.cancel(services, job.job_id, reason="test")
    await services.live.counters.write(job.job_run, counters)
    assert await leftovers(services, job)
    assert await services.live.counters.read(job.job_run) is None


async def test_chunks_of_an_upload_that_never_ended_go_with_their_job(services: Services, project: str) -> None:
    job = await running_job(services, project, 1)
    js = services.connection.jetstream(timeout=60)
    subject = f"$O.{names.PAYLOADS_BUCKET}.C.{job.job_id}-{job.generation}-0123456789abcdef"
    await js.publish(subject, b"half of a result")
    assert not await leftovers(services, job)
    await cancel.cancel(services, job.job_id, reason="test")
    await js.publish(subject, b"and a late one")
    assert await leftovers(services, job)
    assert not await leftovers(services, job)


async def test_each_check_that_looks_is_able_to_fail(services: Services, project: str) -> None:
    """C2: `workers` and `running_jobs` passed whatever they saw, so no alert could hang on them."""
    unserved = await make_job(services, project, 1)
    unheard = await running_job(services, f"{project[:50]}-unheard", 1)
    now = datetime.now(UTC)
    beat = messages.Heartbeat(
        worker=project, host="elsewhere", pid=1, device="cpu", pipelines=(), reaches=(), started_at=now,
        # Half a minute more: by the time it is stored, it is less than an hour ahead.
        at=now + timedelta(hours=1, seconds=30),
    )  # fmt: skip
    async with await psycopg.AsyncConnection.connect(services.settings.database_url, autocommit=True) as connection:
        await connection.execute(
            "UPDATE jobs SET created_at = now() - interval '1 hour', claimed_at = now() - interval '1 hour', "
            "started_at = now() - interval '1 hour' WHERE job_id = ANY (%s)",
            [[unserved.job_id, unheard.job_id]],
        )
        await connection.execute(
            "INSERT INTO run_heartbeats (run_id, heartbeat_at) VALUES (%s, now() - interval '1 hour')", [project]
        )
        await services.heartbeats.beat(beat)
        try:
            report = await health.check(services, dry_run=True)
        finally:
            await services.heartbeats.leave(project)
            await connection.execute("DELETE FROM run_heartbeats WHERE run_id = %s", [project])
            for job in (unserved, unheard):
                await cancel.cancel(services, job.job_id, reason="done")
    expected = {
        "running_jobs": f"job {unheard.job_id} stands still: nobody collects its results",
        "stale_jobs": f"job {unheard.job_id} is RUNNING and nobody has worked on it",
        "workers": f"job {unserved.job_id} waits: no worker listens",
        "runs": f"run {project} was last heard 36",
        "clocks": f"the clock of worker {project} on elsewhere is 36",
    }
    found = {result.name: result for result in report.results}
    assert {name for name in expected if not found[name].unfixable} == set()
    for name, line in expected.items():
        assert [detail for detail in found[name].details if detail.startswith(line)], (name, found[name].details)
    # Tried by tests of their own, except `lost_images`, which puts back all that it finds or fails with the queue.
    elsewhere = {"lost_images", "leftovers", "queue", "lake", "disk_space", "pipelines", "sources", "alerts"}
    assert set(expected) | elsewhere == set(health.CHECKS)


async def test_parts_that_cannot_be_deleted_fail_the_check(services: Services, project: str) -> None:
    """C2: it said that they were deleted, each minute."""
    job = await running_job(services, project, 1)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 1))
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS
    # A disk's own folder cannot be deleted.
    with small_disk(Path(services.lake.uri) / "_parts" / f"job_id={job.job_id}", megabytes=1):
        result = await health.clear_leftovers(services)
    assert result.unfixable >= 1
    said = [line for line in result.details if line.startswith(f"job {job.job_id}:")]
    assert said == [f"job {job.job_id}: its parts cannot be deleted from {services.lake.uri}"]


async def test_a_store_that_is_out_ends_the_check_but_not_the_round(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await running_job(services, project, 1) for _ in range(health.OUTAGE_AFTER + 2)]
    asked: list[JobId] = []

    async def find(job: JobId) -> Job | None:
        asked.append(job)
        raise errors.Unavailable("out")

    with monkeypatch.context() as patched:
        patched.setattr(services.catalog.jobs, "find", find)
        # `get` goes by `find`, so that only the check of leftovers is of interest here.
        report = await health.check(services, dry_run=True)
    found = {result.name: result for result in report.results}
    assert "not looked at: out" in found["leftovers"].details
    assert found["leftovers"].checked == health.OUTAGE_AFTER
    assert not any("not looked at" in line for line in found["workers"].details)
    for job in jobs:
        await cancel.cancel(services, job.job_id, reason="done")


async def test_a_claimed_job_that_waits_for_its_run_needs_nobody(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed_long_ago = dataclasses.replace(await make_job(services, project, 1), status=JobStatus.CLAIMED)
    silent = await running_job(services, project, 1)

    async def suspects(**_: object) -> list[Job]:
        return [claimed_long_ago, silent]

    with monkeypatch.context() as patched:
        patched.setattr(services.catalog.jobs, "suspects", suspects)
        report = await health.check(services, dry_run=True)
    [result] = [one for one in report.results if one.name == "stale_jobs"]
    assert result.unfixable == 1
    assert any(line.startswith(f"job {claimed_long_ago.job_id} was claimed") for line in result.details)
    for job in (claimed_long_ago, silent):
        await cancel.cancel(services, job.job_id, reason="done")
