"""`antenna projects`: list and show projects, set their defaults, describe them as data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_records, with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.job import DispatchMode

if TYPE_CHECKING:
    from antenna_orchestration.answers import datasets
    from antenna_orchestration.catalog.projects import Project
    from antenna_orchestration.processing.services import Services

app = typer.Typer(help="List projects, and set their defaults.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(json_: JsonOption = False) -> None:
    """List projects. The first job or token that names a project creates it."""
    found = with_records(lambda records: records.catalog.projects.list())
    if json_:
        output.as_json(
            [
                {
                    "id": one.project_id,
                    "project": one.slug,
                    "name": one.name,
                    "dispatch_mode": str(one.dispatch_mode),
                    "image_root": None if one.image_root is None else str(one.image_root),
                    "has_dataset": one.has_dataset,
                    "pulls_pipelines": one.pulls_pipelines,
                }
                for one in found
            ]
        )
        return
    rows = [
        (one.slug, one.name, str(one.dispatch_mode), "yes" if one.has_dataset else "", str(one.image_root or ""))
        for one in found
    ]
    output.show_table(
        ("PROJECT", "NAME", "DISPATCH MODE", "DATA SET", "IMAGE ROOT"),
        rows,
        shrinks=("PROJECT", "NAME"),
        wraps=("IMAGE ROOT",),
        empty="no projects; the first job or token that names one creates it",
    )


@app.command()
def show(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's slug.", show_default=False)],
    *,
    json_: JsonOption = False,
) -> None:
    """Show a project: its defaults, and what is said of it as a data set.

    What it prints of the data set is a file that `antenna projects set` takes.
    """
    from antenna_orchestration.answers import datasets

    async def run(services: Services) -> tuple[Project, datasets.Known | None]:
        known = await datasets.of_project(services, project)
        return next(one for one in await services.catalog.projects.list() if one.slug == project), known

    one, known = with_services(run)
    if json_:
        output.as_json(
            {
                "id": one.project_id,
                "project": one.slug,
                "name": one.name,
                "dispatch_mode": str(one.dispatch_mode),
                "image_root": None if one.image_root is None else str(one.image_root),
                "pulls_pipelines": one.pulls_pipelines,
                "dataset": known.dataset.model_dump(mode="json", exclude_none=True) if known else None,
            }
        )
        return
    pulls = "; workers may fetch its jobs' pipelines" if one.pulls_pipelines else ""
    output.note(f"project {one.slug}: dispatch mode {one.dispatch_mode}, image root {one.image_root or 'none'}{pulls}")
    if known is None:
        output.note(f"it is not described as a data set: `antenna projects set {one.slug} --dataset FILE`")
        return
    for line in known.text.rstrip("\n").split("\n"):
        output.line(line)
    output.note(f"said by {known.created_by or 'nobody'} {output.ago(known.created_at)}")


@app.command("set")
def set_(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's slug.", show_default=False)],
    *,
    dispatch_mode: Annotated[
        DispatchMode | None,
        typer.Option(
            help="async_api: workers fetch the images; sync_api: `antenna push` sends them to a processing service.",
            show_default="unchanged",
        ),
    ] = None,
    image_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder from which jobs submitted over HTTP may read local images.", show_default="unchanged"
        ),
    ] = None,
    no_image_root: Annotated[
        bool, typer.Option("--no-image-root", help="Let jobs submitted over HTTP read no local images.")
    ] = False,
    pulls_pipelines: Annotated[
        bool | None,
        typer.Option(
            "--pull-pipelines/--no-pull-pipelines",
            help="Whether workers started with --pull fetch and run own pipelines for its jobs.",
            show_default="unchanged",
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="dataset.yaml: who made the photographs, under which licences. Exports use it.",
            show_default="unchanged",
        ),
    ] = None,
    no_dataset: Annotated[bool, typer.Option("--no-dataset", help="Take what is said of the data set back.")] = False,
) -> None:
    """Set a project's defaults, and describe it as a data set.

    Defaults are for jobs submitted from now on, the description for exports.
    """
    from antenna_orchestration.answers import datasets
    from antenna_orchestration.answers.named_files import content_of
    from antenna_orchestration.kernel import user_of_this_process

    defaults = (dispatch_mode, image_root, no_image_root or None, pulls_pipelines)
    sets_defaults = any(one is not None for one in defaults)
    if not sets_defaults and dataset is None and not no_dataset:
        raise errors.InvalidInput("nothing to set: name --dispatch-mode, --image-root, --dataset or another option")
    if dataset is not None and no_dataset:
        raise errors.InvalidInput("--dataset and --no-dataset exclude each other: name only one")
    if image_root is not None and no_image_root:
        raise errors.InvalidInput("--image-root and --no-image-root exclude each other: name only one")
    if image_root is not None and not image_root.is_dir():
        raise errors.InvalidInput(f"--image-root {image_root} is not a folder on this machine: name one that exists")
    by, content = user_of_this_process(), content_of(dataset, datasets.MOST_BYTES) if dataset is not None else None

    async def run(services: Services) -> str:
        said = f"project {project} is set"
        # What may be refused comes first, so that nothing is half set.
        if content is not None:
            said = datasets.summary(project, await datasets.keep(services, project, content, str(dataset), by=by))
        if no_dataset:
            await datasets.forget(services, project)
        if sets_defaults:
            await services.catalog.projects.update(
                project,
                dispatch_mode=dispatch_mode,
                image_root=None if image_root is None else image_root.resolve(),
                no_image_root=no_image_root,
                pulls_pipelines=pulls_pipelines,
            )
        return said

    output.line(with_services(run))
