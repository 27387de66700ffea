"""The assets of one job: manifest, image_tasks, captures, detections, classifications, failed_images.

Belongs here: what a run of `process_job` does, as assets that show their counts. Each asset calls a verb of
`processing/` through the run's session and returns what Dagster shows of it. No asset imports torch, has a retry
policy, or records an event per image.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg

from antenna_orchestration.assets import metadata
from antenna_orchestration.assets.descriptions import GROUP, of_table
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.progress_teller import ProgressTeller
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.domain.job import Counts, Job, JobStatus
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.processing import collect, finish, publish, samples
from antenna_orchestration.processing.job_log import JobLogWriter
from antenna_orchestration.processing.retrying import retry_forever
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports


@dg.asset(partitions_def=processing_jobs, group_name=GROUP, **of_table("manifest"))
def manifest(context: dg.AssetExecutionContext, run_session: RunSession) -> dg.MaterializeResult[Any]:
    """Write down the images of the job, in the order in which they are published."""
    shown = run_session.do(context, _write_manifest)
    metadata.attach(context, shown)
    return dg.MaterializeResult(data_version=_version(shown["generation"]))


async def _write_manifest(services: Services, job: Job, reports: Reports) -> dict[str, Any]:
    """Write the manifest unless the job is over; its metadata."""
    if not job.status.is_terminal:
        log = _log(services, job, reports)
        await retry_forever("writing the manifest", lambda: finish.write_manifest(services, job), tell=log.tell_store)
    return {
        **await _shown(services, "manifest", job),
        "project": job.project,
        "name": job.name,
        "pipeline": job.pipeline,
        **({"boxes_of_job": job.detections_of} if job.detections_of else {}),
        "generation": job.generation,
        "skipped": job.skipped,
        "duplicates": job.duplicates,
    }


@dg.asset(
    partitions_def=processing_jobs,
    group_name=GROUP,
    deps=[manifest],
    kinds={"nats"},
    code_version="1",
    description="The tasks of the job: one per image on the queue (NATS), from which workers take them. Materializing "
    "it publishes those that submission and sensor have not published yet. It is not a table: tasks are gone when they "
    "are done. `published_now` counts what this run published, `already_on_the_queue` what was there before.",
)
def image_tasks(context: dg.AssetExecutionContext, run_session: RunSession) -> dg.MaterializeResult[Any]:
    """Publish one task per image, from where submission and sensor left off."""
    shown = run_session.do(context, _publish)
    metadata.attach(context, shown)
    return dg.MaterializeResult(data_version=_version(shown["generation"]))


async def _publish(services: Services, job: Job, reports: Reports) -> dict[str, Any]:
    """Publish the tasks; the metadata of `image_tasks`."""
    started = datetime.now(UTC)
    teller = ProgressTeller(reports)
    published = await retry_forever(
        "publishing",
        lambda: publish.publish(services, job.job_id, on_chunk=lambda cursor: teller.tell_published(cursor, job.total)),
    )
    if published.stored:
        await services.catalog.job_log.add(job.job_id, "published", f"Published {counted(published.stored, 'task')}")
    seconds = (datetime.now(UTC) - started).total_seconds()
    return {
        "generation": job.generation,
        "published_now": published.stored,
        "already_on_the_queue": published.refused,
        "published_in_all": job.total if published.complete else published.upto,
        "tasks_per_second": round(published.stored / seconds, 1) if published.stored else 0.0,
    }


@dg.multi_asset(
    partitions_def=processing_jobs,
    group_name=GROUP,
    specs=[
        dg.AssetSpec("captures", deps=[image_tasks], **of_table("captures")),
        dg.AssetSpec("detections", deps=[image_tasks], **of_table("detections")),
        dg.AssetSpec("classifications", deps=["detections"], **of_table("classifications")),
        dg.AssetSpec("failed_images", deps=[image_tasks], **of_table("failed_images")),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "every_image_accounted_for",
            asset="detections",
            blocking=True,
            description="done + failed = total, each image once, and the tables have as many rows as the catalog says.",
        ),
        dg.AssetCheckSpec(
            "failure_rate",
            asset="failed_images",
            description="Not too many images failed. Does not block: the job's state carries the verdict.",
        ),
    ],
)
def results(context: dg.AssetExecutionContext, run_session: RunSession) -> Iterator[Any]:
    """Collect the job's results until every image is accounted for, write its final tables, then finish the job."""
    collected = run_session.do(context, partial(_collect, others_wait=run_session.others_wait(context)))
    for name, shown in collected.tables.items():
        metadata.attach(context, shown, asset=name)
        yield dg.MaterializeResult(asset_key=name, data_version=_version(collected.job.generation))
    yield _every_image_accounted_for(collected)
    yield _failure_rate(collected, threshold=run_session.stores.settings.failure_threshold)
    if collected.adds_up and not collected.job.status.is_terminal:
        # Dagster has recorded the materializations by now, so the job may be over.
        status = run_session.do(context, _finish)
        context.log.info(f"job {collected.job.job_id} is {status}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Collected:
    """A job whose results are collected, with its counts in the catalog and what its final tables hold."""

    job: Job
    counts: Counts
    # The metadata of each table that is an asset.
    tables: dict[str, dict[str, Any]]

    def rows(self, name: str) -> int:
        """The rows of a final table."""
        return int(self.tables[name]["dagster/row_count"])

    @property
    def adds_up(self) -> bool:
        """Whether tables and catalog agree; a row that was lost or doubled between part and table shows here."""
        return (
            self.counts.accounted == self.counts.total == self.rows("captures")
            and self.rows("detections") == self.counts.detections
            and self.rows("classifications") == self.counts.classifications
        )


def _version(generation: int) -> dg.DataVersion:
    """The version of a job's results: a retry makes another, and what was made of the earlier one shows as stale."""
    return dg.DataVersion(f"generation-{generation}")


async def _collect(
    services: Services, job: Job, reports: Reports, *, others_wait: Callable[[], Awaitable[bool]]
) -> _Collected:
    """Collect and write the final tables; collect again when a part was lost meanwhile."""
    teller, log = ProgressTeller(reports), _log(services, job, reports)
    observer = collect.Observer(on_progress=teller.tell_collected, on_milestone=reports.log)
    if job.published_upto < job.total:
        # A person selected this asset without `image_tasks`, or re-executes from a failure after it.
        await retry_forever("publishing", lambda: publish.publish(services, job.job_id))
    while not job.status.is_terminal:
        await collect.collect(services, job, observer=observer, others_wait=others_wait)
        written = await retry_forever(
            "writing the tables", lambda: finish.write_final_tables(services, job), tell=log.tell_store
        )
        if not written.lost_parts:
            break
    counts = await services.catalog.images.count(job.job_id)
    teller.tell_end(counts)
    return await retry_forever("reading the tables", lambda: _describe(services, job, counts), tell=log.tell_store)


async def _finish(services: Services, job: Job, reports: Reports) -> JobStatus:
    log = _log(services, job, reports)
    return await retry_forever("finishing the job", lambda: finish.finish_job(services, job), tell=log.tell_store)


def _log(services: Services, job: Job, reports: Reports) -> JobLogWriter:
    """The job's log, of which the run's own has the milestones."""
    return JobLogWriter(services=services, job=job, tell=reports.log)


def _every_image_accounted_for(collected: _Collected) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="every_image_accounted_for",
        asset_key="detections",
        passed=collected.adds_up,
        metadata={
            "total": collected.counts.total,
            "done": collected.counts.done,
            "failed": collected.counts.failed,
            **{f"rows_in_{name}": collected.rows(name) for name in ("captures", "detections", "classifications")},
        },
    )


def _failure_rate(collected: _Collected, *, threshold: float) -> dg.AssetCheckResult:
    counts = collected.counts
    rate = counts.failed / counts.total if counts.total else 0.0
    return dg.AssetCheckResult(
        check_name="failure_rate",
        asset_key="failed_images",
        passed=rate <= threshold,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failed": counts.failed, "rate": rate, "threshold": threshold},
    )


async def _describe(services: Services, job: Job, counts: Counts) -> _Collected:
    """What the final tables hold, with the metadata that Dagster shows of them."""
    current = await services.catalog.jobs.get(job.job_id)
    began = current.started_at or current.created_at
    seconds = max(((current.finished_at or datetime.now(UTC)) - began).total_seconds(), 0.001)
    tables = {
        name: await _shown(services, name, job)
        for name in ("captures", "detections", "classifications", "failed_images")
    }
    drawn = await samples.sample_pictures(services, current, count=metadata.PICTURES, width=900)
    tables["detections"] = {
        # First, as the UI shows them in this order, and Markdown only after a click.
        "pictures": metadata.pictures(drawn),
        "images_done": counts.done,
        "images_per_second": round(counts.accounted / seconds, 2),
        **tables["detections"],
    }
    for name, column in (("classifications", "label"), ("failed_images", "reason")):
        found = await asyncio.to_thread(services.lake.value_counts, name, job.job_id, column)
        tables[name][f"{column}s"] = metadata.counts(column, found)
    return _Collected(job=job, counts=counts, tables=tables)


async def _shown(services: Services, name: str, job: Job) -> dict[str, Any]:
    """A final table's size, place and first rows."""
    head = await asyncio.to_thread(services.lake.head, name, job.job_id, metadata.PREVIEW_ROWS)
    return {
        "dagster/row_count": await asyncio.to_thread(services.lake.count_rows, name, job.job_id),
        "dagster/uri": services.lake.table(name, job.job_id),
        "preview": metadata.preview(head),
    }
