"""The assets of one job: captures, image_tasks, detections, classifications, failed_images.

Belongs here: what a run of `process_job` does, as assets that show their counts. Each calls a verb of `processing/`;
none imports torch, retries by policy, or writes an event per image.
"""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg

from antenna_orchestration import kernel
from antenna_orchestration.assets import metadata
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.run_session import run_for_job
from antenna_orchestration.domain.job import Counts, Job, JobStatus
from antenna_orchestration.domain.progress import JobProgress, duration
from antenna_orchestration.processing import collect, finish, publish, samples
from antenna_orchestration.processing.retrying import retry_forever
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports
from antenna_orchestration.resources.stores import Stores

PROGRESS_TAG: Final = "antenna/progress"

MOST_VALUES: Final = 20
"""Labels and reasons shown in the UI, the most frequent ones."""

TAG_EVERY: Final = 10.0
"""Seconds between progress tags on the run."""

_GROUP: Final = "processing"


@dg.asset(partitions_def=processing_jobs, group_name=_GROUP, kinds={"parquet"})
def captures(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult[Any]:
    """The images of the job, in the order in which they are published."""

    async def work(services: Services, job: Job, reports: Reports) -> dg.MaterializeResult[Any]:
        if not job.status.is_terminal:
            await retry_forever("writing the manifest", lambda: finish.write_manifest(services, job))
        rows = await asyncio.to_thread(services.lake.count_rows, "manifest", job.job_id)
        table = await asyncio.to_thread(services.lake.head, "manifest", job.job_id, metadata.PREVIEW_ROWS)
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": rows,
                "dagster/uri": services.lake.table("manifest", job.job_id),
                "project": job.project,
                "name": job.name,
                "pipeline": job.pipeline,
                "generation": job.generation,
                "skipped": job.skipped,
                "duplicates": job.duplicates,
                "preview": metadata.preview(table),
            }
        )

    return run_for_job(context, stores, work)


@dg.asset(partitions_def=processing_jobs, group_name=_GROUP, deps=[captures], kinds={"nats"})
def image_tasks(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult[Any]:
    """One task per image on the queue, from where submission and sensor left off."""

    async def work(services: Services, job: Job, reports: Reports) -> dg.MaterializeResult[Any]:
        started = datetime.now(UTC)

        tagged = started

        def on_chunk(cursor: int) -> None:
            nonlocal tagged
            if (datetime.now(UTC) - tagged).total_seconds() >= TAG_EVERY:
                tagged = datetime.now(UTC)
                reports.tag(PROGRESS_TAG, f"publishing {cursor}/{job.total}")

        published = await retry_forever("publishing", lambda: publish.publish(services, job.job_id, on_chunk=on_chunk))
        if published.stored:
            await services.catalog.job_log.add(job.job_id, "published", f"Published {published.stored} tasks")
        seconds = (datetime.now(UTC) - started).total_seconds()
        return dg.MaterializeResult(
            metadata={
                "published_now": published.stored,
                "already_on_the_queue": published.refused,
                "published_in_all": job.total if published.complete else published.upto,
                "tasks_per_second": round(published.stored / seconds, 1) if published.stored else 0.0,
            }
        )

    return run_for_job(context, stores, work)


@dg.multi_asset(
    partitions_def=processing_jobs,
    group_name=_GROUP,
    specs=[
        dg.AssetSpec("detections", deps=[image_tasks], kinds={"parquet"}, description="The insects found."),
        dg.AssetSpec(
            "classifications",
            deps=["detections"],
            kinds={"parquet"},
            description="What the insects are.",
        ),
        dg.AssetSpec(
            "failed_images",
            deps=[image_tasks],
            kinds={"parquet"},
            description="Images that failed, and why.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "every_image_accounted_for",
            asset="detections",
            blocking=True,
            description="done + failed = total, each image once.",
        ),
        dg.AssetCheckSpec(
            "failure_rate",
            asset="failed_images",
            description="Not too many images failed. Does not block: the job's state carries the verdict.",
        ),
    ],
)
def results(context: dg.AssetExecutionContext, stores: Stores) -> Iterator[Any]:
    """Collect the job's results until every image is accounted for, then write its final tables and settle it."""

    async def work(services: Services, job: Job, reports: Reports) -> tuple[Job, Counts, dict[str, Any]]:
        counts = await _collect(services, job, reports)
        reports.tag(PROGRESS_TAG, f"{counts.accounted}/{counts.total}, done")
        return job, counts, await retry_forever("describing the tables", lambda: _describe(services, job, counts))

    job, counts, described = run_for_job(context, stores, work)
    for name in ("detections", "classifications", "failed_images"):
        yield dg.MaterializeResult(asset_key=name, metadata=described[name])
    # The tables speak for themselves: a row lost or doubled between part and table shows here.
    in_tables = {name: described[name]["dagster/row_count"] for name in ("detections", "classifications")}
    accounted = (
        counts.accounted == counts.total == described["captures_rows"]
        and in_tables["detections"] == counts.detections
        and in_tables["classifications"] == counts.classifications
    )
    yield dg.AssetCheckResult(
        check_name="every_image_accounted_for",
        asset_key="detections",
        passed=accounted,
        metadata={
            "total": counts.total,
            "done": counts.done,
            "failed": counts.failed,
            "rows_in_captures": described["captures_rows"],
            **{f"rows_in_{name}": rows for name, rows in in_tables.items()},
        },
    )
    threshold = stores.settings.failure_threshold
    rate = counts.failed / counts.total if counts.total else 0.0
    yield dg.AssetCheckResult(
        check_name="failure_rate",
        asset_key="failed_images",
        passed=rate <= threshold,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"failed": counts.failed, "rate": rate, "threshold": threshold},
    )
    if accounted and not job.status.is_terminal:
        # The materializations are recorded; now the job may be over.
        status = run_for_job(context, stores, _settle)
        context.log.info(f"job {job.job_id} is {status}")


async def _settle(services: Services, job: Job, reports: Reports) -> JobStatus:
    return await retry_forever("settling the job", lambda: finish.finish_job(services, job))


async def _collect(services: Services, job: Job, reports: Reports) -> Counts:
    """Collect and write the final tables, anew when a part was lost meanwhile."""
    told = _Storyteller(reports)
    observer = collect.Observer(on_progress=told.on_progress, on_milestone=reports.log)
    kernel.keep_what_is_imported()
    while not job.status.is_terminal:
        await collect.collect(services, job, observer=observer)
        written = await retry_forever("writing the tables", lambda: finish.write_final_tables(services, job))
        if not written.lost_parts:
            break
    return await services.catalog.images.count(job.job_id)


class _Storyteller:
    """Turns progress into a run tag every ten seconds and log lines ever further apart."""

    LINE_AT_MOST_EVERY: Final = 300.0
    STEP: Final = 0.05

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._started = datetime.now(UTC)
        self._tagged: datetime | None = None
        # Lines after 10, 20, 40 s …, then every five minutes, and at each twentieth of the job.
        self._next_line = 10.0
        self._next_share = self.STEP

    def on_progress(self, progress: JobProgress) -> None:
        """Tell what is due. Once a second."""
        if self._tagged is None or (progress.at - self._tagged).total_seconds() >= TAG_EVERY:
            self._tagged = progress.at
            self._reports.tag(PROGRESS_TAG, progress.line)
        elapsed = (progress.at - self._started).total_seconds()
        share = progress.accounted / progress.total if progress.total else 1.0
        if elapsed < self._next_line and not (share >= self._next_share and elapsed >= 1.0):
            return
        while self._next_line <= elapsed:
            self._next_line += min(self._next_line, self.LINE_AT_MOST_EVERY)
        while self._next_share <= share:
            self._next_share += self.STEP
        self._reports.log(
            f"{progress.line}; {progress.detections} detections; {progress.waiting} waiting after {duration(elapsed)}"
        )


async def _describe(services: Services, job: Job, counts: Counts) -> dict[str, Any]:
    """The metadata of the three tables."""
    job = await services.catalog.jobs.get(job.job_id)
    began = job.started_at or job.created_at
    seconds = max(((job.finished_at or datetime.now(UTC)) - began).total_seconds(), 0.001)
    described: dict[str, Any] = {
        "captures_rows": await asyncio.to_thread(services.lake.count_rows, "captures", job.job_id)
    }
    for name in ("detections", "classifications", "failed_images"):
        table = await asyncio.to_thread(services.lake.head, name, job.job_id, metadata.PREVIEW_ROWS)
        described[name] = {
            "dagster/row_count": await asyncio.to_thread(services.lake.count_rows, name, job.job_id),
            "dagster/uri": services.lake.table(name, job.job_id),
            "preview": metadata.preview(table),
        }
    described["detections"] |= {
        "images_done": counts.done,
        "images_per_second": round(counts.accounted / seconds, 2),
        "pictures": metadata.pictures(await samples.sample_pictures(services, job, count=metadata.PICTURES, width=900)),
    }
    for name, column in (("classifications", "label"), ("failed_images", "reason")):
        found = await asyncio.to_thread(services.lake.value_counts, name, job.job_id, column)
        described[name][f"{column}s"] = metadata.counts(column, found.most_common(MOST_VALUES))
    return described
