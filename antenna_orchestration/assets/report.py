"""The asset that a person reads: one page about a finished job."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

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
    kinds={"markdown"},
    description="One page about a finished job, for people: what was found, at which sites and in which nights, what "
    "failed, and where the tables are. The whole page, with pictures in full size, is the file `report.md` that the "
    "tab *Events* names as `dagster/uri`; the entry `report` is a shorter copy.",
)
def job_report(context: dg.AssetExecutionContext, run_session: RunSession) -> Iterator[Any]:
    """Write the report."""
    job, written = run_session.do(context, _write_report)
    yield dg.MaterializeResult(metadata={"report": dg.MetadataValue.md(written.markdown), "dagster/uri": written.uri})
    if job.status is JobStatus.FAILURE:
        # In the last step, when tables and report are written: the run of a job that failed shows as failed.
        reason = f"job {job.job_id} is FAILURE: {job.status_reason}; its tables and this report are complete"
        raise dg.Failure(description=terminal.line(reason), allow_retries=False)


async def _write_report(services: Services, job: Job, _: Reports) -> tuple[Job, report.Report]:
    return job, await retry_forever("writing the report", lambda: report.write_report(services, job))
