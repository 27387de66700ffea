"""The code location `antenna`: everything that Dagster shows and runs. GPU hosts load `worker_definitions` instead."""

from typing import Any

import dagster as dg

from antenna_orchestration.assets.derived import derived_tables
from antenna_orchestration.assets.exports import EXPORTS
from antenna_orchestration.assets.health import jobs_health
from antenna_orchestration.assets.job_assets import image_tasks, manifest, results
from antenna_orchestration.assets.merged import merged_tables
from antenna_orchestration.assets.report import job_report
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.assets.season import season
from antenna_orchestration.jobs.datasets import describe_dataset
from antenna_orchestration.jobs.deployments import import_deployments
from antenna_orchestration.jobs.derivation import derive_tables
from antenna_orchestration.jobs.export import export_dataset
from antenna_orchestration.jobs.inference import inference_worker
from antenna_orchestration.jobs.names import import_taxa
from antenna_orchestration.jobs.operations import jobs_health_check, merge_tables, prune_history
from antenna_orchestration.jobs.processing import process_job
from antenna_orchestration.jobs.reviews import import_reviews
from antenna_orchestration.jobs.season import update_season
from antenna_orchestration.jobs.submission import submit_job
from antenna_orchestration.resources.run_executor import run_executor
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.schedules.operations import health_check_schedule, merge_schedule, prune_schedule
from antenna_orchestration.sensors.alerts import alerts
from antenna_orchestration.sensors.health_watch import health_watch
from antenna_orchestration.sensors.job_run_status import job_run_status
from antenna_orchestration.sensors.lost_runs import lost_runs
from antenna_orchestration.sensors.new_captures import new_captures
from antenna_orchestration.sensors.queued_jobs import queued_jobs
from antenna_orchestration.sensors.season_nights import season_nights
from antenna_orchestration.sensors.worker_autoscaler import worker_autoscaler


def build_definitions(**resources: Any) -> dg.Definitions:
    """All definitions; keyword arguments replace resources by name."""
    stores = resources.pop("stores", Stores())
    return dg.Definitions(
        assets=_owned(
            manifest,
            image_tasks,
            results,
            derived_tables,
            job_report,
            jobs_health,
            merged_tables,
            season,
            *EXPORTS.values(),
        ),
        jobs=[
            process_job,
            inference_worker,
            jobs_health_check,
            merge_tables,
            derive_tables,
            submit_job,
            export_dataset,
            import_reviews,
            prune_history,
            import_deployments,
            describe_dataset,
            import_taxa,
            update_season,
        ],
        sensors=[
            queued_jobs,
            worker_autoscaler,
            job_run_status,
            lost_runs,
            health_watch,
            new_captures,
            season_nights,
            alerts,
        ],
        schedules=[health_check_schedule, merge_schedule, prune_schedule],
        resources={"stores": stores, "run_session": RunSession(stores=stores), **resources},
        executor=run_executor,
    )


def _owned(*assets: dg.AssetsDefinition) -> list[Any]:
    """The assets, each with whom to ask: Dagster takes a team's name or an address."""
    return list(dg.map_asset_specs(lambda spec: spec.replace_attributes(owners=["team:antenna"]), assets))


defs = build_definitions()
