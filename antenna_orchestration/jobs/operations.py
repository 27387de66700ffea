"""Dagster jobs of operations: the health check, the merging of tables and the pruning of history."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from antenna_orchestration import errors
from antenna_orchestration.assets.health import jobs_health
from antenna_orchestration.assets.merged import merged_tables
from antenna_orchestration.domain import ids
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.refusals import check_range, told_in_one_line
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

_MOST_DAYS = 36_500


class PruneConfig(dg.Config):
    """What to keep, and whether to delete at all."""

    keep_days: int = Field(
        default=90, description="Days, 1 to 36,500, of which the runs and the lines of the jobs' logs are kept."
    )
    dry_run: bool = Field(default=False, description="Count only: say what would be deleted, and delete nothing.")


@dg.op
def prune(context: dg.OpExecutionContext, config: PruneConfig, stores: Stores) -> None:
    """Delete old runs that are over and old job-log lines; never a result, nor the run that a job names as its own."""
    with told_in_one_line():
        check_range("keep_days", config.keep_days, 1, _MOST_DAYS)
        before = datetime.now(UTC) - timedelta(days=config.keep_days)
        runs = _runs_over(context.instance, before)
        jobs = {job for run in runs if (job := _job_of(run)) is not None}

        async def prune_log(services: Services) -> tuple[set[str], int]:
            found = [await services.catalog.jobs.find(job) for job in jobs]
            log = services.catalog.job_log
            lines = await (log.count_old(before) if config.dry_run else log.prune(before))
            return {job.run_id for job in found if job and job.run_id}, lines

        kept, lines = stores.call(prune_log)
    old = [run.run_id for run in runs if run.run_id not in kept]
    if not config.dry_run:
        for run_id in old:
            context.instance.delete_run(run_id)
    did = "would delete" if config.dry_run else "deleted"
    context.log.info(
        f"{did} {counted(len(old), 'run')} and {counted(lines, 'job-log line')} from before {before:%Y-%m-%d}"
    )
    context.add_output_metadata({"runs": len(old), "log_lines": lines, "dry_run": config.dry_run})


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
    """Delete runs that are over and lines of finished jobs' logs, both older than keep_days; never a result.

    `dry_run: true` only counts them.
    """
    prune()
