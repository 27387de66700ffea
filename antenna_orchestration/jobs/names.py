"""The Dagster job that imports names, for the launchpad and for scripts."""

import dagster as dg
from pydantic import Field

from antenna_orchestration import errors
from antenna_orchestration.answers import names as verb
from antenna_orchestration.answers.named_files import allowed, content_of
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain import terminal, who
from antenna_orchestration.jobs.refusals import told_in_one_line
from antenna_orchestration.processing.submit import DEFAULT_PROJECT
from antenna_orchestration.resources.stores import Stores


class TaxaConfig(dg.Config):
    """Which file to read: the same as the arguments of `antenna taxa import`."""

    file: str = Field(
        description="Table such as taxa.csv, GBIF species list, or category map in JSON, on the machine that runs "
        "Dagster."
    )
    project: str = Field(default=DEFAULT_PROJECT, description="Slug of the project of the names.")
    name: str | None = Field(
        default=None, description="Make a species list of that name of the file; not given: name labels."
    )

    use: bool = Field(
        default=False, description="Let the species list hold, as `antenna taxa use` does; together with `name`."
    )
    deployment: str | None = Field(
        default=None, description="Deployment for which it then holds; not given: the whole project."
    )


@dg.op
def name_labels(context: dg.OpExecutionContext, config: TaxaConfig, stores: Stores) -> None:
    """Name labels, or make a species list; refuses with one clear line and writes nothing when the file has a fault."""
    with told_in_one_line():
        data = content_of(allowed(config.file, stores.settings.image_roots), verb.MOST_BYTES)
        name, project, file = config.name, config.project, config.file
        if name is None and config.use:
            raise errors.InvalidInput("use: name the species list that shall hold, in `name`")
        if config.deployment is not None and not config.use:
            raise errors.InvalidInput("deployment: it says where a species list holds; set `use` as well")
        if name is None:
            done = stores.call(
                lambda services: verb.import_taxa(services, project, data, file, by=who.dagster_run(context.run_id))
            )
        else:
            done = stores.call(
                lambda services: verb.import_list(
                    services, project, name, data, file, by=who.dagster_run(context.run_id)
                )
            )
            if config.use:
                stores.call(lambda services: verb.use_list(services, project, name, deployment=config.deployment))
                where = f"deployment {config.deployment}" if config.deployment else f"project {project}"
                context.log.info(terminal.line(f"species list {name!r} holds for {where}"))
    for line in (done.summary, *(match.line for match in done.matches), *done.hints):
        context.log.info(terminal.line(line))
    context.add_output_metadata({"count": done.count, "new": done.new, "left_out": done.left_out})


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def import_taxa() -> None:
    """Say what labels stand for, or make a species list, as `antenna taxa import` does: all or nothing."""
    name_labels()
