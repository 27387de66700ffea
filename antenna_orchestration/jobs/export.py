"""The Dagster job that exports results of many jobs or of a project, for the launchpad, schedules and scripts."""

from datetime import date
from pathlib import Path

import dagster as dg
from pydantic import Field

from antenna_orchestration import errors
from antenna_orchestration.answers import export as verb
from antenna_orchestration.answers.named_files import allowed, content_of
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain import terminal
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.exports import dataset as descriptions
from antenna_orchestration.exports import formats
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.jobs.refusals import told_in_one_line
from antenna_orchestration.resources.interruptible import run_interruptible
from antenna_orchestration.resources.stores import Stores


class ExportDatasetConfig(dg.Config):
    """What to export, and how: the same as the options of `antenna export`."""

    format: str = Field(description="The format, such as tables, megadetector or camtrap-dp.")
    out: str = Field(
        description="The file or the new folder to write, on the machine that runs Dagster, or s3://bucket/prefix."
    )
    jobs: list[int] = Field(default=[], description="Numbers of jobs of one project; none: the project's.")
    project: str | None = Field(default=None, description="Slug of a project: all of its finished jobs.")
    capture_set: str | None = Field(
        default=None, description="Photographs of this capture set of the project only; not given: all."
    )
    pipeline: str | None = Field(default=None, description="Results of this pipeline only; not given: all.")
    deployment: str | None = Field(default=None, description="Photographs of this deployment only; not given: all.")
    first: str | None = Field(default=None, description="The first night, such as 2026-06-01; not given: the first.")
    last: str | None = Field(default=None, description="The last night; not given: the last.")
    dataset: str | None = Field(
        default=None, description="dataset.yaml on the machine that runs Dagster; not given: what the project has."
    )
    threshold: float = Field(
        default=0.0, description="Leave out detections with a lower score, 0 to 1; for formats that take one."
    )
    options: dict[str, str] = Field(
        default={}, description="Further options of the format, such as {as: parquet} of tables."
    )
    partial: bool = Field(
        default=False, description="Leave out what lacks what the format demands, and say so, in place of refusing."
    )
    replace: bool = Field(default=False, description="Replace an earlier export in the same place.")


@dg.op
def export(context: dg.OpExecutionContext, config: ExportDatasetConfig, stores: Stores) -> None:
    """Write the export and check it; refuses with one clear line and writes nothing when it cannot be made."""
    with told_in_one_line():
        order = _order(config, stores)

        async def work(_: object) -> verb.Exported:
            async with stores.opened() as services:
                return await verb.export(services, order)

        made = run_interruptible(context, work)
    context.log.info(terminal.line(made.summary))
    for line in made.written.left_out:
        context.log.warning(terminal.line(f"left out: {line}"))
    context.add_output_metadata({"dagster/uri": made.uri, "complete": made.is_complete, **dict(made.written.counts)})
    if made.checked is not None and made.checked.faults:
        first = terminal.line(made.checked.faults[0])
        raise dg.Failure(description=f"{made.uri} is not valid {order.format.name}: {first}", allow_retries=False)


def _order(config: ExportDatasetConfig, stores: Stores) -> verb.Order:
    """What the configuration asks for. Raises `InvalidInput`."""
    if (config.project is None) == (not config.jobs):
        raise errors.InvalidInput("name either jobs or a project")
    roots = stores.settings.image_roots
    dataset = None
    if config.dataset is not None:
        content = content_of(allowed(config.dataset, roots), descriptions.MOST_BYTES)
        dataset = descriptions.read(content, config.dataset)
    if not Path(config.out).is_absolute() and "://" not in config.out:
        raise errors.InvalidInput(f"out {config.out!r} must be a whole path, such as /data/exports/traps, or s3://…")
    return verb.order(
        formats.named(config.format),
        Selection(
            project=config.project,
            jobs=tuple(JobId(job) for job in config.jobs),
            capture_set=config.capture_set,
            pipeline=config.pipeline,
            deployment=config.deployment,
            first=_night("first", config.first),
            last=_night("last", config.last),
            threshold=config.threshold,
        ),
        out=config.out,
        options=config.options,
        dataset=dataset,
        partial=config.partial,
        replace=config.replace,
        check=True,
    )


def _night(name: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise errors.InvalidInput(f"{name} {text!r} is not a date such as 2026-06-01") from None


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def export_dataset() -> None:
    """Export results of jobs or of a project in a format of other programs, as `antenna export`, and check them."""
    export()
