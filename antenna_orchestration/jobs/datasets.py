"""The Dagster job that describes a project as a data set, for the launchpad and for scripts."""

import dagster as dg
from pydantic import Field

from antenna_orchestration.answers import datasets as verb
from antenna_orchestration.answers.named_files import allowed, content_of
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain import terminal, who
from antenna_orchestration.jobs.refusals import told_in_one_line
from antenna_orchestration.processing.submit import DEFAULT_PROJECT
from antenna_orchestration.resources.stores import Stores


class DatasetConfig(dg.Config):
    """Which file to read: the same as `antenna projects set PROJECT --dataset FILE`."""

    file: str = Field(description="YAML file such as dataset.yaml, on the machine that runs Dagster.")
    project: str = Field(default=DEFAULT_PROJECT, description="Slug of the project that it describes.")


@dg.op
def keep_dataset(context: dg.OpExecutionContext, config: DatasetConfig, stores: Stores) -> None:
    """Keep a description; refuses with one clear line and keeps the earlier one when the file has faults."""
    with told_in_one_line():
        data = content_of(allowed(config.file, stores.settings.image_roots), verb.MOST_BYTES)
        said = stores.call(
            lambda services: verb.keep(services, config.project, data, config.file, by=who.dagster_run(context.run_id))
        )
    context.log.info(terminal.line(verb.summary(config.project, said)))
    context.add_output_metadata({"title": terminal.line(said.title or ""), "contributors": len(said.contributors)})


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def describe_dataset() -> None:
    """Say who made a project's photographs and under which licences, as `antenna projects set --dataset` does."""
    keep_dataset()
