"""The whole way of a job through the verbs, on real stores."""

import asyncio

import psycopg
import pytest

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.processing import cancel, collect, finish, publish, retry, waiting
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import tasks
from tests.processing.jobs_by_hand import claimed, hands, make_job
from tests.waiting import eventually


async def collect_all(services: Services, job_id: int) -> JobStatus:
    job = await services.catalog.jobs.get(job_id)
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert counts.done + counts.failed == counts.total == job.total
    final = await finish.write_final_tables(services, job)
    assert not final.lost_parts
    return await finish.finish_job(services, job)


async def test_every_image_is_done_once(services: Services, project: str) -> None:
    job = await claimed(services, await make_job(services, project, 50))
    published = await publish.publish(services, job.job_id)
    assert published.stored == 50 and published.complete
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 50))
    assert await collect_all(services, job.job_id) is JobStatus.SUCCESS

    (told,) = [
        line.message for _, line in await services.catalog.job_log.read(job.job_id) if line.action == "collected"
    ]
    assert told == (
        "50 done, 0 failed, 50 detections; posted by test 50; 0 tasks wait, 0 leased, 50 deliveries, 0 redelivered"
    )

    detections = services.lake.read_table("detections", job.job_id)
    assert detections.num_rows == 50
    assert len(set(detections.column("image_id").to_pylist())) == 50
    assert services.lake.read_table("captures", job.job_id).column("status").to_pylist() == ["done"] * 50


async def test_a_claimed_job_waits_for_its_run_however_long(services: Services, project: str) -> None:
    """A seventh large job of a project waits in Dagster's queue for hours, and was said to have no collector."""
    (job,) = await services.catalog.jobs.claim(1, job_id=(await make_job(services, project, 1)).job_id)
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE jobs SET claimed_at = now() - interval '1 h' WHERE job_id = %s", [job.job_id])
    job = await services.catalog.jobs.get(job.job_id)
    progress = JobProgress.of(await services.catalog.images.count(job.job_id))
    assert "nobody collects" not in await waiting.of_job(services, job, progress)
    await cancel.cancel(services, job.job_id, reason="test")


async def test_a_deployment_that_is_renamed_meanwhile_is_not_made_anew(services: Services, project: str) -> None:
    """Photographs of a watched folder, or known ones, went to a deployment of the old name, without place and zone."""
    job = await make_job(services, project, 0, named=[SubmittedImage("http://192.0.2.1/a.jpg", None, "wood")])
    known = {"named": [SubmittedImage("http://192.0.2.1/b.jpg", None, "wood")], "deployments_are_known": True}
    async with await psycopg.AsyncConnection.connect(services.settings.database_url) as other:
        await other.execute(
            "UPDATE deployments SET name = 'forest' WHERE project_id = %s AND name = 'wood'", [job.project_id]
        )
        making = asyncio.create_task(make_job(services, project, 0, **known))

        async def waits() -> bool:
            asked = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND query ~ 'held'"
            return await (await other.execute(asked)).fetchone() is not None

        await eventually(waits, description="a submission that waits for the renaming")
    with pytest.raises(errors.Conflict, match="there is no deployment wood any more"):
        await making
    assert set(await services.catalog.deployments.places(project)) == {"forest"}
    await cancel.cancel(services, job.job_id, reason="test")


async def test_publishing_twice_stores_once(services: Services, project: str) -> None:
    job = await make_job(services, project, 30)
    first = await publish.publish(services, job.job_id, limit=20)
    assert (first.stored, first.upto, first.complete) == (20, 20, False)
    rest = await publish.publish(services, job.job_id)
    assert (rest.stored, rest.complete) == (10, True)
    again = await publish.publish(services, job.job_id)
    assert again.stored == again.refused == 0
    assert len(await services.queue.waiting(job.pipeline, job.job_run)) == 30
    await cancel.cancel(services, job.job_id, reason="test")


async def test_a_job_of_mostly_failed_images_fails_and_retry_does_those(services: Services, project: str) -> None:
    job = await claimed(services, await make_job(services, project, 10))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        leases = await worker.lease(job, 10)
        await worker.report(leases[:4])
        await worker.report(leases[4:], outcome="failed", reason="404", detections=[])
    assert await collect_all(services, job.job_id) is JobStatus.FAILURE
    lines = [line.message for _, line in await services.catalog.job_log.read(job.job_id) if line.action == "collected"]
    assert lines[0].startswith("4 done, 6 failed, 4 detections; 404: 6 images; posted by test 10; ")
    assert services.lake.read_table("failed_images", job.job_id).column("reason").to_pylist() == ["404"] * 6

    retried = await retry.retry(services, job.job_id)
    assert (retried.generation, retried.images) == (2, 6)
    job = await claimed(services, await services.catalog.jobs.get(job.job_id))
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 10, wait=0.5))
    assert await collect_all(services, job.job_id) is JobStatus.SUCCESS
    detections = services.lake.read_table("detections", job.job_id)
    assert sorted(detections.column("image_id").to_pylist()) == sorted(
        services.lake.read_table("captures", job.job_id).column("image_id").to_pylist()
    )
    assert services.lake.read_table("failed_images", job.job_id).num_rows == 0


async def test_a_retry_of_nothing_starts_nothing(services: Services, project: str) -> None:
    """B15: it opened a generation and a run, and rewrote the tables, for nothing."""
    job = await claimed(services, await make_job(services, project, 2))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 2))
    assert await collect_all(services, job.job_id) is JobStatus.SUCCESS
    before = await services.catalog.jobs.get(job.job_id)
    retried = await retry.retry(services, job.job_id)
    assert (retried.generation, retried.images) == (1, 0)
    assert retried.warnings == (f"nothing to retry: all 2 images of job {job.job_id} are done",)
    assert await services.catalog.jobs.get(job.job_id) == before


async def test_cancel_frees_everything_and_retry_goes_on(services: Services, project: str) -> None:
    job = await claimed(services, await make_job(services, project, 10))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    assert await cancel.cancel(services, job.job_id, reason="a test")
    assert not await cancel.cancel(services, job.job_id, reason="again")
    job = await services.catalog.jobs.get(job.job_id)
    assert (job.status, job.status_reason) == (JobStatus.CANCELED, "a test")
    assert not await services.queue.waiting(job.pipeline, job.job_run)
    assert (job.job_id, job.generation) not in await services.announcements.read()
    names = await tasks.consumers(services.connection.jetstream(timeout=60), "TASKS")
    assert not [name for name in names if name.startswith(f"j{job.job_id}-")]
    assert (await retry.retry(services, job.job_id)).images == 10
    await cancel.cancel(services, job.job_id, reason="done")


async def test_dead_collectors_are_looked_for_before_runs_that_wait(services: Services, project: str) -> None:
    """Of many that were launched again, whose runs wait in Dagster's queue, only so many are looked at."""
    waits = await claimed(services, await make_job(services, project, 1))
    dead = await claimed(services, await make_job(services, project, 1))
    await services.catalog.jobs.take_back(waits)
    found = [job.job_id for job in await services.catalog.jobs.suspects(claimed_for=0, silent_for=0, limit=10_000)]
    assert found.index(dead.job_id) < found.index(waits.job_id)
