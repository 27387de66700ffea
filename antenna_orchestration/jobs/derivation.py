"""The Dagster job that derives the tables of a project, over all of its finished jobs."""

import dagster as dg
from pydantic import Field

from antenna_orchestration.answers import derive as verb
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain import terminal
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.refusals import told_in_one_line
from antenna_orchestration.processing.submit import DEFAULT_PROJECT
from antenna_orchestration.resources.interruptible import run_interruptible
from antenna_orchestration.resources.stores import Stores


class DeriveConfig(dg.Config):
    """Whose tables to derive: the same as the option of `antenna tables`."""

    project: str = Field(default=DEFAULT_PROJECT, description="Slug of the project.")


@dg.op
def derive(context: dg.OpExecutionContext, config: DeriveConfig, stores: Stores) -> None:
    """Derive the tables; refuses with one clear line when there is nothing to derive from."""

    async def work(_: object) -> verb.Derived:
        async with stores.opened() as services:
            return await verb.derive(services, project=config.project)

    with told_in_one_line():
        made = run_interruptible(context, work)
    context.log.info(terminal.line(f"{made.summary}, of {counted(len(made.jobs), 'job')}"))
    for warning in made.warnings:
        context.log.warning(terminal.line(warning))
    context.add_output_metadata(
        {
            "recipe": made.recipe,
            "jobs": len(made.jobs),
            **{f"{name}/rows": rows for name, rows in made.rows.items()},
            **({"warnings": "\n".join(made.warnings)} if made.warnings else {}),
        }
    )


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def derive_tables() -> None:
    """Derive observations, tracks, nights and counts of a project over all of its finished jobs, as `antenna tables`.

    No image counts twice: of each image and pipeline the newest finished result counts.
    """
    derive()
