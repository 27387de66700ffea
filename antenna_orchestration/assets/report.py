"""The asset that a person reads: one page about a finished job."""

from typing import Any

import dagster as dg

from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.run_session import run_for_job
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import report
from antenna_orchestration.processing.retrying import retry_forever
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports
from antenna_orchestration.resources.stores import Stores


@dg.asset(
    partitions_def=processing_jobs,
    group_name="processing",
    deps=["captures", "detections", "classifications", "failed_images"],
    kinds={"markdown"},
)
def job_report(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult[Any]:
    """What the job found, where and when, what failed, and where the tables lie."""

    async def work(services: Services, job: Job, reports: Reports) -> report.Report:
        return await retry_forever("writing the report", lambda: report.write_report(services, job))

    written = run_for_job(context, stores, work)
    return dg.MaterializeResult(metadata={"report": dg.MetadataValue.md(written.markdown), "dagster/uri": written.uri})
