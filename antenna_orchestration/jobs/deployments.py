"""The Dagster job that describes deployments, for the launchpad and for scripts."""

import dagster as dg
from pydantic import Field

from antenna_orchestration.answers import deployments as verb
from antenna_orchestration.answers.named_files import allowed, content_of
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain import terminal
from antenna_orchestration.jobs.refusals import told_in_one_line
from antenna_orchestration.processing.submit import DEFAULT_PROJECT
from antenna_orchestration.resources.stores import Stores


class DeploymentsConfig(dg.Config):
    """Which file to read: the same as the arguments of `antenna deployments import`."""

    file: str = Field(description="CSV file such as sites.csv, on the machine that runs Dagster.")
    project: str = Field(default=DEFAULT_PROJECT, description="Slug of the project of the deployments.")


@dg.op
def describe_deployments(context: dg.OpExecutionContext, config: DeploymentsConfig, stores: Stores) -> None:
    """Describe deployments as a file says; refuses with one clear line and writes nothing when it has faults."""
    with told_in_one_line():
        data = content_of(allowed(config.file, stores.settings.image_roots), verb.MOST_BYTES)
        done = stores.call(lambda services: verb.import_file(services, config.project, data, config.file))
    for warning in done.warnings:
        context.log.warning(terminal.line(warning))
    context.log.info(terminal.line(done.summary))
    context.add_output_metadata({"deployments": len(done.places), "new": len(done.created)})


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def import_deployments() -> None:
    """Say where and in which time zone cameras stood, as `antenna deployments import` does: all or nothing."""
    describe_deployments()
