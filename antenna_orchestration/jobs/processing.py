"""The Dagster job of one processing job: everything that is materialized for its partition."""

import dagster as dg

from antenna_orchestration.assets.derived import derived_tables
from antenna_orchestration.assets.exports import of_each_job
from antenna_orchestration.assets.job_assets import image_tasks, manifest, results
from antenna_orchestration.assets.report import job_report
from antenna_orchestration.domain import run_tags as tags

process_job = dg.define_asset_job(
    "process_job",
    selection=dg.AssetSelection.assets(manifest, image_tasks, results, derived_tables, job_report, *of_each_job()),
    # For runs that a person launches; the sensor chooses the role by the job's size.
    tags={tags.ROLE: tags.COLLECTOR_BULK},
    description="Publish, collect and materialize one job, and derive its tables. Terminating cancels the job unless "
    "all its images are accounted for; re-executing resumes it.",
)
