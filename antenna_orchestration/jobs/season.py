"""The Dagster job that brings seasons up to date: the sensor `season_nights` requests it, and anybody may."""

from functools import partial

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from pydantic import Field

from antenna_orchestration.assets.partitions import projects, season_key
from antenna_orchestration.assets.season import ASSET, Made, update
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.jobs.refusals import told_in_one_line
from antenna_orchestration.resources.interruptible import run_interruptible
from antenna_orchestration.resources.stores import Stores


class SeasonConfig(dg.Config):
    """Whose seasons."""

    projects: list[str] = Field(
        default=[], description="Slugs of projects with finished jobs; none: all. The checks look at all in any case."
    )


@dg.op
def refresh(context: dg.OpExecutionContext, config: SeasonConfig, stores: Stores) -> None:
    """Make the nights anew that changed, materialize the partitions that show others, and evaluate the checks."""
    with told_in_one_line():
        wanted = config.projects or [
            one.project for one in stores.call(lambda services: services.catalog.seasons.marks())
        ]
        made: Made = run_interruptible(context, partial(update, stores, dict.fromkeys(wanted, ())))
    nights = list(made.nights(_versions(context.instance)))
    context.instance.add_dynamic_partitions(str(projects.name), sorted({one.project for one in nights}))
    for one in nights:
        context.log_event(
            dg.AssetMaterialization(
                ASSET,
                partition=season_key(one.project, one.night),
                metadata=made.shown(one.project, one.night),
                tags={DATA_VERSION_TAG: one.version},
            )
        )
    for check in made.checks():
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(ASSET),
            check_name=check.name,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=check.description or None,
            metadata=check.metadata,
        )
        # It is taken, and the type does not say so.
        context.log_event(evaluation)  # type: ignore[arg-type]
    made.raise_if_failed()


def _versions(instance: dg.DagsterInstance) -> dict[str, str]:
    """The data version of each partition that the season has."""
    found = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(ASSET), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return {key: versions[DATA_VERSION_TAG] for key, versions in found.items()}


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def update_season() -> None:
    """Bring the seasons of projects up to date: nights that changed are made anew, and all checks evaluated."""
    refresh()
