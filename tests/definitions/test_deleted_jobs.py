"""What Dagster holds of a deleted job goes, by whoever has its instance; a job whose run is under way waits."""

import asyncio

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Job
from antenna_orchestration.embedded.dagster_instance import Instance
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.resources import deleted_jobs
from antenna_orchestration.upkeep import delete
from tests.definitions.test_prune_history import PARTITIONS, a_run, instance, left, partitions, tags_without_events
from tests.processing.jobs_by_hand import make_job

__all__ = ["instance"]


async def over(services: Services, project: str) -> Job:
    job = await make_job(services, project, 1)
    await cancel.cancel(services, job.job_id, reason="a test")
    return job


@pytest.mark.long
def test_partition_runs_events_and_checks_go(instance: Instance, wanted: settings.Settings, project: str) -> None:
    async def jobs() -> tuple[Job, ...]:
        async with opened(wanted) as services:
            return tuple([await over(services, project) for _ in range(3)])

    async def forget() -> set[ids.JobId]:
        async with opened(wanted) as services:
            for job in (gone, busy):
                await delete.delete(services, job.job_id, by="someone")
            await delete.bring_up_to_date(services, [gone.job_id, busy.job_id])
            return set(await deleted_jobs.forget_open(services, instance))

    kept, gone, busy = asyncio.run(jobs())
    runs = {job.job_id: [a_run(instance, job) for _ in range(2)] for job in (kept, gone, busy)}
    before, orphans = left(instance, runs[kept.job_id][0]), tags_without_events(instance)
    key = ids.partition_key(busy.job_id)
    under_way = instance.add_run(dg.DagsterRun("process_job", tags={"dagster/partition": key}))
    instance.add_dynamic_partitions(PARTITIONS, [key])
    done = asyncio.run(forget())
    assert gone.job_id in done
    assert busy.job_id not in done, "its run would fail at its end"
    assert partitions(instance, kept, gone, busy) == [True, False, True]
    assert [left(instance, run) for run in runs[gone.job_id]] == [{}, {}]
    assert left(instance, runs[kept.job_id][0]) == before
    assert tags_without_events(instance) == orphans
    instance.delete_run(under_way.run_id)

    async def again() -> set[ids.JobId]:
        async with opened(wanted) as services:
            return set(await deleted_jobs.forget_open(services, instance))

    assert busy.job_id in asyncio.run(again())
    assert partitions(instance, kept, gone, busy) == [True, False, False]
    assert gone.job_id not in asyncio.run(again()), "it is noted"
