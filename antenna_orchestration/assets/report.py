"""The asset that a person reads: one page about a finished job."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.answers import html_report
from antenna_orchestration.assets import metadata
from antenna_orchestration.assets.descriptions import GROUP
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.domain import terminal
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import report
from antenna_orchestration.processing.retrying import retry_forever
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports


@dg.asset(
    partitions_def=processing_jobs,
    group_name=GROUP,
    deps=["captures", "detections", "classifications", "failed_images"],
    kinds={"html"},
    description="Two pages about a finished job, for people. The file `report.html`, named by `page`, has plots, "
    "pictures of each name, the coverage of each night, and how far to trust it; it opens in any browser and can be "
    "mailed. `report.md`, named by `dagster/uri`, has all sites, nights and reasons as text; the entry `report` is a "
    "shorter copy of it, and `plots` are the page's.",
)
def job_report(context: dg.AssetExecutionContext, run_session: RunSession) -> Iterator[Any]:
    """Write the reports."""
    job, written, page = run_session.do(context, _write_report)
    shown = {**page, "report": dg.MetadataValue.md(written.markdown), "dagster/uri": written.uri}
    metadata.attach(context, shown)
    yield dg.MaterializeResult()
    if job.status is JobStatus.FAILURE:
        # In the last step, when tables and report are written: the run of a job that failed shows as failed.
        reason = f"job {job.job_id} is FAILURE: {job.status_reason}; its tables and this report are complete"
        raise dg.Failure(description=terminal.line(reason), allow_retries=False)


async def _write_report(services: Services, job: Job, _: Reports) -> tuple[Job, report.Report, dict[str, Any]]:
    uri, page = await _write_page(services, job)
    written = await retry_forever("writing the report", lambda: report.write_report(services, job, page=uri))
    return job, written, page


async def _write_page(services: Services, job: Job) -> tuple[str, dict[str, Any]]:
    """Write the HTML file; its URI and metadata. A fault is this file's alone: the job's results are there."""
    try:
        made = await html_report.write(services, job=job.job_id, patience=html_report.AT_THE_END)
    except errors.AntennaError as error:
        text = f"The page report.html could not be written, the results are complete: {error}"
        await services.catalog.job_log.add(job.job_id, "no_report", text, level="WARNING")
        return "", {"page": f"not written: {terminal.line(error)}"}
    plots = metadata.plots(html_report.plots(made.page))
    return made.uri, {"page": dg.MetadataValue.path(made.uri), **plots}
