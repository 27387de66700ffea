"""Dagster jobs of operations: the health check, the merging of tables and the pruning of history."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.assets.health import jobs_health
from antenna_orchestration.assets.merged import merged_tables
from antenna_orchestration.domain import ids
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.stores import Stores

jobs_health_check = dg.define_asset_job(
    "jobs_health_check",
    selection=dg.AssetSelection.assets(jobs_health),
    tags={tags.ROLE: tags.OPERATIONS},
    description="Look for lost images, stale jobs, leftovers and silent workers, and repair what can be repaired.",
)

merge_tables = dg.define_asset_job(
    "merge_tables",
    selection=dg.AssetSelection.assets(merged_tables),
    tags={tags.ROLE: tags.OPERATIONS},
    description="Copy the tables of finished jobs into files that many jobs share, for queries across them.",
)

_PAGE = 200


class PruneConfig(dg.Config):
    """Launch configuration."""

    keep_days: int = 90


@dg.op
def prune(context: dg.OpExecutionContext, config: PruneConfig, stores: Stores) -> None:
    """Delete old runs that are over and old job-log lines; never a result, nor the run that a job names as its own."""
    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    runs = _runs_over(context.instance, before)
    jobs = {job for run in runs if (job := _job_of(run)) is not None}

    async def prune_log(services: Services) -> tuple[set[str], int]:
        found = [await services.catalog.jobs.find(job) for job in jobs]
        return {job.run_id for job in found if job and job.run_id}, await services.catalog.job_log.prune(before)

    kept, lines = stores.call(prune_log)
    deleted = [run.run_id for run in runs if run.run_id not in kept]
    for run_id in deleted:
        context.instance.delete_run(run_id)
    context.log.info(f"deleted {len(deleted)} runs and {lines} job-log lines from before {before:%Y-%m-%d}")


def _runs_over(instance: dg.DagsterInstance, before: datetime) -> list[dg.DagsterRun]:
    """All old runs, listed before any is deleted: each page begins after the last run of the previous one."""
    terminal = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    wanted = dg.RunsFilter(statuses=terminal, created_before=before)
    runs: list[dg.DagsterRun] = []
    while page := instance.get_runs(wanted, cursor=runs[-1].run_id if runs else None, limit=_PAGE):
        runs += page
    return runs


def _job_of(run: dg.DagsterRun) -> ids.JobId | None:
    """The job of a run's partition; None if there is no partition, or if it is not a job's."""
    try:
        return ids.job_of_partition(run.tags.get("dagster/partition", ""))
    except errors.InvalidInput:
        return None


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def prune_history() -> None:
    """Delete the history that nobody looks at any more."""
    prune()
