"""Dagster jobs of operations: the health check, the merging of tables and the pruning of history."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from antenna_orchestration import errors
from antenna_orchestration.assets.health import jobs_health
from antenna_orchestration.assets.merged import merged_tables
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.domain import ids
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.refusals import check_range, told_in_one_line
from antenna_orchestration.resources import dagster_history
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

_MOST_DAYS = 36_500

_PARTITION_TAG = "dagster/partition"

_FOR_EVER = timedelta(days=_MOST_DAYS)

_PARTITIONS = 1_000
"""Partitions at once."""


class PruneConfig(dg.Config):
    """What to keep, and whether to delete at all."""

    keep_days: int | None = Field(
        default=None,
        description="Days, 1 to 36,500, for which the history of jobs that are over is kept. Not set: as "
        "ANTENNA_HISTORY_DAYS says.",
    )
    dry_run: bool = Field(default=False, description="Count only: say what would be deleted, and delete nothing.")


@dg.op
def prune(context: dg.OpExecutionContext, config: PruneConfig, stores: Stores) -> None:
    """Delete what Dagster keeps of jobs that have been over for long: runs, events, checks, logs and the partition.

    Old lines of their logs, old runs without a job and health runs go, too; never a result, nor a row of the catalog.
    """
    with told_in_one_line():
        check_range("keep_days", 1 if config.keep_days is None else config.keep_days, 1, _MOST_DAYS)
    settings = stores.settings
    days = settings.history_days if config.keep_days is None else config.keep_days
    now = datetime.now(UTC)
    before = now - (timedelta(days=days) if days else _FOR_EVER)
    health_before = max(before, now - (timedelta(days=settings.health_history_days) or _FOR_EVER))
    instance, checks = context.instance, [jobs_health_check.name]
    removed = {
        "health_runs": _prune_runs(instance, stores, health_before, config, of=checks),
        "runs": _prune_runs(instance, stores, before, config, not_of=checks),
        "partitions": _prune_partitions(instance, stores, before, config),
        "log_lines": stores.call(
            lambda services: services.catalog.job_log.prune(before, dry_run=config.dry_run),
        ),
    }
    did = "would delete" if config.dry_run else "deleted"
    context.log.info(
        f"{did} {counted(removed['runs'], 'run')}, {counted(removed['partitions'], 'partition')} and "
        f"{counted(removed['log_lines'], 'job-log line')} from before {before:%Y-%m-%d}, and "
        f"{counted(removed['health_runs'], 'health run')} from before {health_before:%Y-%m-%d}"
    )
    context.add_output_metadata({**removed, "dry_run": config.dry_run})


def _prune_runs(
    instance: dg.DagsterInstance, stores: Stores, before: datetime, config: PruneConfig, **which: Collection[str]
) -> int:
    """Delete runs that are old, except those of jobs that are not; returns how many. Memory is that of one page."""
    deleted = after = 0
    while page := dagster_history.old_runs(instance, before, after=after, **which):
        after = page[-1].number
        of = {run.run_id: _job_of(run.partition) for run in page}
        ages = _are_old(stores, {one for one in of.values() if one is not None}, before)
        # The catalog does not know the jobs of runs that somebody made by hand.
        old = [run_id for run_id, job_id in of.items() if job_id is None or ages.get(job_id, True)]
        if old and not config.dry_run:
            dagster_history.delete_runs(instance, old)
        deleted += len(old)
    return deleted


def _prune_partitions(instance: dg.DagsterInstance, stores: Stores, before: datetime, config: PruneConfig) -> int:
    """Delete the partitions of old jobs of which no run is left; returns how many."""
    definition = str(processing_jobs.name)
    keys_of = {job: key for key in instance.get_dynamic_partitions(definition) if (job := _job_of(key)) is not None}
    unfinished = {
        run.tags.get(_PARTITION_TAG) for run in instance.get_runs(dg.RunsFilter(statuses=dagster_history.UNFINISHED))
    }
    deleted = 0
    jobs = list(keys_of)
    for start in range(0, len(jobs), _PARTITIONS):
        ages = _are_old(stores, jobs[start : start + _PARTITIONS], before)
        old = [job for job, is_old in ages.items() if is_old and keys_of[job] not in unfinished]
        keys = [keys_of[job] for job in old]
        deleted += len(keys)
        if config.dry_run or not keys:
            continue
        dagster_history.delete_partitions(instance, definition, keys)
        # One that was submitted again meanwhile has been given its partition before it was deleted.
        still = _are_old(stores, old, before)
        if again := [keys_of[job] for job in old if not still.get(job, True)]:
            instance.add_dynamic_partitions(definition, again)
    return deleted


def _are_old(stores: Stores, jobs: Collection[ids.JobId], before: datetime) -> dict[ids.JobId, bool]:
    """Whether each of the jobs that the catalog knows has been over since before a moment."""
    return stores.call(lambda services: services.catalog.jobs.over_before(jobs, before)) if jobs else {}


def _job_of(partition: str | None) -> ids.JobId | None:
    """The job of a partition; None if there is no partition, or if it is not a job's."""
    try:
        return ids.job_of_partition(partition or "")
    except errors.InvalidInput:
        return None


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def prune_history() -> None:
    """Delete what Dagster keeps of jobs that have been over for ANTENNA_HISTORY_DAYS: runs, checks, logs, partitions.

    Health runs go after ANTENNA_HEALTH_HISTORY_DAYS; results and the catalog's rows stay. `dry_run: true` only counts.
    """
    prune()
