"""The asset that a person reads: one page about a finished job."""

from typing import Any

import dagster as dg

from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import report
from antenna_orchestration.processing.retrying import retry_forever
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports


@dg.asset(
    partitions_def=processing_jobs,
    group_name="processing",
    deps=["captures", "detections", "classifications", "failed_images"],
    kinds={"markdown"},
)
def job_report(context: dg.AssetExecutionContext, run_session: RunSession) -> dg.MaterializeResult[Any]:
    """What the job found, where and when, what failed, and where the tables are."""
    written = run_session.do(context, _write_report)
    return dg.MaterializeResult(metadata={"report": dg.MetadataValue.md(written.markdown), "dagster/uri": written.uri})


async def _write_report(services: Services, job: Job, _: Reports) -> report.Report:
    return await retry_forever("writing the report", lambda: report.write_report(services, job))
