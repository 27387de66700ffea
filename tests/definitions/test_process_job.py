"""The assets of a job, materialized in process against the real stores and an ephemeral Dagster instance."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.assets.derived import derived_tables
from antenna_orchestration.assets.job_assets import image_tasks, manifest, results
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.report import job_report
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.exports.report import rules
from antenna_orchestration.processing import cancel, publish, retry
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.resources.interruptible import Reports
from antenna_orchestration.resources.stores import Stores
from tests.processing.jobs_by_hand import hands, make_job
from tests.waiting import eventually

ASSETS = [manifest, image_tasks, results, derived_tables, job_report]


def run_of(
    job: Job, instance: dg.DagsterInstance, assets: Sequence[dg.AssetsDefinition] = ASSETS
) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions("processing_jobs", [ids.partition_key(job.job_id)])
    return dg.materialize(
        assets,
        instance=instance,
        partition_key=ids.partition_key(job.job_id),
        resources={"run_session": RunSession(stores=Stores())},
        raise_on_error=False,
    )


async def submitted(wanted: settings.Settings, project: str, images: int) -> Job:
    async with opened(wanted) as services:
        return await make_job(services, project, images)


async def work_off(wanted: settings.Settings, job: Job) -> None:
    async with opened(wanted) as services, hands(services) as worker:
        await publish.publish(services, job.job_id)
        current = await services.catalog.jobs.get(job.job_id)
        left = job.total
        while left:
            leases = await worker.lease(current, left)
            await worker.report(leases)
            left -= len(leases)


async def state(wanted: settings.Settings, job: Job) -> Job:
    async with opened(wanted) as services:
        return await services.catalog.jobs.get(job.job_id)


@pytest.mark.long
def test_a_run_materializes_its_job_and_again_from_the_lake(wanted: settings.Settings, project: str) -> None:
    job = asyncio.run(submitted(wanted, project, 20))
    worker = threading.Thread(target=lambda: asyncio.run(work_off(wanted, job)))
    worker.start()
    with dg.DagsterInstance.ephemeral() as instance:
        first = run_of(job, instance)
        worker.join()
        assert first.success
        assert asyncio.run(state(wanted, job)).status is JobStatus.SUCCESS
        rows = {
            event.asset_key.to_user_string(): event.materialization.metadata.get("dagster/row_count")
            for event in first.get_asset_materialization_events()
            if event.asset_key
        }
        assert rows["detections"] == dg.IntMetadataValue(20)
        # B10: each asset that is a table has the table's name.
        assert rows["manifest"] == rows["captures"] == dg.IntMetadataValue(20)
        assert [event.passed for event in first.get_asset_check_evaluations()] == [True, True]
        [reported] = first.asset_materializations_for_node("job_report")
        page = reported.metadata["page"]
        assert isinstance(page, dg.PathMetadataValue) and page.path is not None
        assert rules.faults(Path(page.path).read_text()) == []
        plots = str(reported.metadata["plots"].value)
        assert plots.count("data:image/svg+xml;base64,") >= 3 and len(plots) < 150_000
        assert page.path in str(reported.metadata["report"].value)
        outputs = [event for event in first.all_events if event.event_type_value == "STEP_OUTPUT"]
        # What a materialization shows is stored once, though it may have pictures.
        assert len(outputs) == 14 and not any(output.step_output_data.metadata for output in outputs)
        derived = {name: rows[name] for name in ("observations", "nights", "counts")}
        assert derived == {name: dg.IntMetadataValue(n) for name, n in zip(derived, (20, 1, 1), strict=True)}

        again = run_of(job, instance)
        assert again.success
        published = again.asset_materializations_for_node("image_tasks")[0].metadata["published_now"]
        assert published == dg.IntMetadataValue(0)
        detections = {m.asset_key.to_user_string(): m for m in again.asset_materializations_for_node("results")}
        assert detections["detections"].metadata["dagster/row_count"] == dg.IntMetadataValue(20)
        assert asyncio.run(state(wanted, job)).generation == 1


def test_the_assets_of_a_run_share_its_connections(wanted: settings.Settings, project: str) -> None:
    job = asyncio.run(submitted(wanted, project, 1))
    seen: list[Any] = []

    async def look(services: Services, _: Job, __: Reports) -> None:
        await services.queue_answers()
        seen.append(services.connection)

    @dg.asset(partitions_def=processing_jobs)
    def first(context: dg.AssetExecutionContext, run_session: RunSession) -> None:
        run_session.do(context, look)

    @dg.asset(partitions_def=processing_jobs, deps=[first])
    def second(context: dg.AssetExecutionContext, run_session: RunSession) -> None:
        run_session.do(context, look)

    with dg.DagsterInstance.ephemeral() as instance:
        assert run_of(job, instance, [first, second]).success
    one, other = seen
    assert one is other
    assert one.is_closed, "with the run"


@pytest.mark.long
def test_a_fault_in_deriving_is_that_step_s_alone(wanted: settings.Settings, project: str) -> None:
    job = asyncio.run(submitted(wanted, project, 2))
    worker = threading.Thread(target=lambda: asyncio.run(work_off(wanted, job)))
    worker.start()
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_of(job, instance, assets=[manifest, image_tasks, results]).success
        worker.join()
        [damaged] = Path(wanted.lake, "detections", f"job_id={job.job_id}").glob("*.parquet")
        damaged.write_bytes(b"PAR1 no more")
        failed = run_of(job, instance, assets=[derived_tables])
    assert not failed.success
    [step] = [event for event in failed.all_events if event.is_step_failure]
    assert step.step_failure_data.error is not None
    assert "No magic bytes" in str(step.step_failure_data.error.message)

    async def told() -> list[str]:
        async with opened(wanted) as services:
            return [line.message for line in await services.catalog.job_log.newest(job.job_id, 10)]

    [line] = [line for line in asyncio.run(told()) if "derived" in line]
    assert line.startswith("The derived tables could not be made, the results are complete: lake ")
    assert asyncio.run(state(wanted, job)).status is JobStatus.SUCCESS


def test_collecting_alone_publishes_what_is_not_published(wanted: settings.Settings, project: str) -> None:
    """Also when a run is executed again from a failure that came after `image_tasks`."""
    job = asyncio.run(submitted(wanted, project, 3))

    async def work_off_what_is_published() -> None:
        async with opened(wanted) as services, hands(services) as worker:

            async def some() -> bool:
                current = await services.catalog.jobs.get(job.job_id)
                if current.epoch is not None:
                    await worker.report(await worker.lease(current, 3, wait=0.1))
                return current.status.is_terminal

            await eventually(some, description="the job is over")

    worker = threading.Thread(target=lambda: asyncio.run(work_off_what_is_published()))
    worker.start()
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_of(job, instance, assets=[results]).success
    worker.join()
    assert asyncio.run(state(wanted, job)).status is JobStatus.SUCCESS


@pytest.mark.long
def test_a_job_without_images_succeeds_with_a_reason(wanted: settings.Settings, project: str) -> None:
    job = asyncio.run(submitted(wanted, project, 0))
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_of(job, instance).success
    final = asyncio.run(state(wanted, job))
    assert (final.status, final.status_reason) == (JobStatus.SUCCESS, "the job has no images")


def test_a_run_keeps_to_the_generation_that_it_began_with(wanted: settings.Settings, project: str) -> None:
    """Its job, canceled and retried between two assets, is another run's."""
    job = asyncio.run(submitted(wanted, project, 3))

    async def cancel_and_retry() -> None:
        async with opened(wanted) as services:
            await cancel.cancel(services, job.job_id, reason="a test")
            await retry.retry(services, job.job_id)

    @dg.asset(partitions_def=processing_jobs, deps=[manifest])
    def meanwhile() -> None:
        asyncio.run(cancel_and_retry())

    @dg.asset(partitions_def=processing_jobs, deps=[meanwhile])
    def afterwards(context: dg.AssetExecutionContext, run_session: RunSession) -> None:
        run_session.do(context, _nothing)

    with dg.DagsterInstance.ephemeral() as instance:
        run = run_of(job, instance, assets=[manifest, meanwhile, afterwards])
        assert not run.success
        assert [event.step_key for event in run.all_events if event.event_type_value == "STEP_SUCCESS"] == [
            "manifest",
            "meanwhile",
        ]
        # A second run serves the generation that is there.
        assert run_of(job, instance, assets=[manifest]).success
    final = asyncio.run(state(wanted, job))
    assert (final.status, final.generation) == (JobStatus.RUNNING, 2)


async def _nothing(*_: object) -> None:
    raise AssertionError("the verb is not called for another generation")


def test_a_canceled_job_is_retried_by_a_run_that_a_person_launches(wanted: settings.Settings, project: str) -> None:
    job = asyncio.run(submitted(wanted, project, 3))

    async def canceled() -> None:
        async with opened(wanted) as services:
            await cancel.cancel(services, job.job_id, reason="a test")

    asyncio.run(canceled())
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_of(job, instance, assets=[manifest]).success
    final = asyncio.run(state(wanted, job))
    assert (final.status, final.generation) == (JobStatus.RUNNING, 2)
    asyncio.run(canceled())
