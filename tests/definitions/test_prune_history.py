"""`prune_history` on real stores: old runs and old lines go; results, and the run that a job names, stay."""

import asyncio

import dagster as dg
import psycopg
import sqlalchemy

from antenna_orchestration import settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Job
from antenna_orchestration.jobs.operations import prune_history
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from tests.processing.jobs_by_hand import claimed, make_job


def a_run(instance: dg.DagsterInstance, job: Job, status: dg.DagsterRunStatus) -> str:
    process_job = build_definitions().resolve_job_def("process_job")
    tags = {"dagster/partition": ids.partition_key(job.job_id)}
    return instance.create_run_for_job(process_job, status=status, tags=tags).run_id


def pruned(instance: dg.DagsterInstance, keep_days: int, *, dry_run: bool = False) -> None:
    config = {"ops": {"prune": {"config": {"keep_days": keep_days, "dry_run": dry_run}}}}
    assert prune_history.execute_in_process(
        instance=instance, resources={"stores": Stores()}, run_config=config
    ).success


def test_old_history_goes_and_the_record_stays(wanted: settings.Settings, project: str) -> None:
    async def jobs() -> tuple[Job, Job]:
        async with opened(wanted) as services:
            over = await make_job(services, project, 4)
            active = await claimed(services, await make_job(services, project + "-b", 1))
            for job in (over, active):
                await services.catalog.job_log.add(job.job_id, "told", "a line of long ago")
            await cancel.cancel(services, over.job_id, reason="a test")
            return over, active

    async def record(job: Job) -> tuple[Job, object, list[str]]:
        async with opened(wanted) as services:
            lines = [line.action for _, line in await services.catalog.job_log.read(job.job_id)]
            return await services.catalog.jobs.get(job.job_id), await services.catalog.images.count(job.job_id), lines

    over, active = asyncio.run(jobs())
    with psycopg.connect(wanted.database_url) as connection:
        connection.execute(
            "UPDATE job_log SET at = now() - interval '100 days' WHERE action = 'told' AND job_id = ANY (%s)",
            [[over.job_id, active.job_id]],
        )
    with dg.DagsterInstance.ephemeral() as instance:
        forgotten = a_run(instance, over, dg.DagsterRunStatus.FAILURE)
        named = a_run(instance, over, dg.DagsterRunStatus.CANCELED)
        living = a_run(instance, over, dg.DagsterRunStatus.STARTED)
        with psycopg.connect(wanted.database_url) as connection:
            connection.execute("UPDATE jobs SET run_id = %s WHERE job_id = %s", [named, over.job_id])
        before, images, _ = asyncio.run(record(over))

        pruned(instance, keep_days=90, dry_run=True)
        assert "told" in asyncio.run(record(over))[2], "B6: a dry run deletes nothing"
        pruned(instance, keep_days=90)
        assert all(instance.has_run(run) for run in (forgotten, named, living))
        after, images_after, lines = asyncio.run(record(over))
        assert (after, images_after) == (before, images)
        assert "told" not in lines and "canceled" in lines
        assert "told" in asyncio.run(record(active))[2], "the story of a job at work is whole"

        with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            connection.execute(sqlalchemy.text("UPDATE runs SET create_timestamp = '2020-01-01 00:00:00'"))
        pruned(instance, keep_days=1, dry_run=True)
        assert instance.has_run(forgotten), "B6: a dry run deletes nothing"
        pruned(instance, keep_days=1)
        assert not instance.has_run(forgotten)
        assert instance.has_run(named) and instance.has_run(living)
        assert asyncio.run(record(over))[:2] == (before, images)

    async def end() -> None:
        async with opened(wanted) as services:
            await cancel.cancel(services, active.job_id, reason="done")

    asyncio.run(end())
