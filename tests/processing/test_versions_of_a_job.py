"""After a retry with a newer version of its pipeline, each row says the version that its image was processed with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antenna_orchestration.catalog.pipelines import PipelineRow
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.lake.paths import MERGED
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import collect, finish, merge, publish, report, retry
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import claimed, hands, make_job
from tests.waiting import eventually


async def register(services: Services, slug: str, version: str) -> None:
    row = PipelineRow(slug=slug, name=slug, version=version, description="", default_config={}, algorithms=[])
    await services.catalog.pipelines.register(row)


async def running_job(services: Services, job: Job) -> Job:
    job = await claimed(services, await services.catalog.jobs.get(job.job_id))
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


def versions_in(lake: Lake, name: str, job: Job) -> dict[int, str]:
    return {row["image_id"]: row["pipeline_version"] for row in lake.read_table(name, job.job_id).to_pylist()}


@pytest.mark.long
@pytest.mark.parametrize("canceled", [False, True], ids=["retried after its end", "retried after it was canceled"])
async def test_each_row_says_the_version_that_processed_its_image(
    own_services: Services, project: str, tmp_path: Path, canceled: bool
) -> None:
    """A canceled job's parts of the first version become final together with those of the second."""
    services = own_services  # Merging reads every job's tables: those of other tests may be damaged.
    slug = PipelineSlug(f"lab-{project}")
    await register(services, slug, "1")
    job = await running_job(services, await make_job(services, project, 3, pipeline=slug, reprocess=True))
    async with hands(services) as worker:
        leases = await worker.lease(job, 3)
        await worker.report(leases[:2])
        if canceled:
            collecting = asyncio.create_task(collect.collect(services, job, observer=collect.Observer()))

            async def two_are_done() -> bool:
                return (await services.catalog.images.count(job.job_id)).done == 2

            await eventually(two_are_done, description="two images are done")
            await services.catalog.jobs.cancel(job.job_id, "a test")
            with pytest.raises(collect.JobLeft):
                await collecting
            await services.catalog.jobs.finish(job.job_run, JobStatus.CANCELED, None, collected=False)
        else:
            await worker.report(leases[2:], outcome="failed", reason="404", detections=[])
            await collect.collect(services, job, observer=collect.Observer())
            await finish.write_final_tables(services, job)
            await finish.finish_job(services, job)
            assert await services.catalog.generations.versions(job.job_id) == ["1"]
        await register(services, slug, "2")
        await retry.retry(services, job.job_id)
        job = await running_job(services, job)
        again = await worker.lease(job, 1)
        await worker.report(again)
        await collect.collect(services, job, observer=collect.Observer())
    so_far = Lake(str(tmp_path / "so-far"))
    assert await finish.write_rows_so_far(services, job, so_far) == 0
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)
    job = await services.catalog.jobs.get(job.job_id)
    assert job.status is JobStatus.SUCCESS
    expected = {lease.task.image: "1" for lease in leases[:2]} | {again[0].task.image: "2"}
    for lake in (services.lake, so_far):
        for name in ("captures", "detections"):
            assert versions_in(lake, name, job) == expected, name
    assert await services.catalog.generations.versions(job.job_id) == ["1", "2"]
    written = await report.write_report(services, job)
    assert f"pipeline {slug} 1 and 2, generation 2" in written.markdown.replace("\\", "")
    await merge.merge(services)
    [file] = [one for one in merge.planned(await services.catalog.jobs.final()) if job.job_id in one.jobs]
    for name in ("captures", "detections"):
        rows = [
            row
            for batch in services.lake.batches_of_file(f"{MERGED}/{name}/{file.name}")
            for row in batch.to_pylist()
            if row["job_id"] == job.job_id
        ]
        assert {row["image_id"]: row["pipeline_version"] for row in rows} == expected
