"""The Dagster job that brings seasons up to date: the sensor `season_nights` requests it, and anybody may."""

from functools import partial

import dagster as dg
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
    """Make the nights anew that changed, materialize their partitions, and evaluate the checks of the season."""
    with told_in_one_line():
        wanted = config.projects or [
            one.project for one in stores.call(lambda services: services.catalog.seasons.marks())
        ]
        made: Made = run_interruptible(context, partial(update, stores, dict.fromkeys(wanted, ())))
    nights = list(made.nights())
    context.instance.add_dynamic_partitions(str(projects.name), sorted({project for project, _ in nights}))
    for project, night in nights:
        key = season_key(project, night)
        context.log_event(dg.AssetMaterialization(ASSET, partition=key, metadata=made.shown(project, night)))
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


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def update_season() -> None:
    """Bring the seasons of projects up to date: nights that changed are made anew, and all checks evaluated."""
    refresh()
