"""`antenna projects`: list projects, set their defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.domain.job import DispatchMode

app = typer.Typer(help="List projects, and set their defaults.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List projects. The first job or token that names a project creates it."""
    found = with_services(lambda services: services.catalog.projects.list())
    if json_:
        output.as_json(
            [
                {
                    "id": one.project_id,
                    "project": one.slug,
                    "name": one.name,
                    "dispatch_mode": str(one.dispatch_mode),
                    "image_root": None if one.image_root is None else str(one.image_root),
                }
                for one in found
            ]
        )
        return
    rows = [(one.slug, one.name, str(one.dispatch_mode), str(one.image_root or "")) for one in found]
    output.show_table(
        ("PROJECT", "NAME", "DISPATCH MODE", "IMAGE ROOT"),
        rows,
        shrinks=("PROJECT", "NAME"),
        wraps=("IMAGE ROOT",),
        empty="no projects; the first job or token that names one creates it",
    )


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
) -> None:
    """Set a project's defaults, for jobs submitted from now on."""
    if dispatch_mode is None and image_root is None and not no_image_root:
        raise errors.InvalidInput("nothing to set: name --dispatch-mode, --image-root or --no-image-root")
    if image_root is not None and no_image_root:
        raise errors.InvalidInput("--image-root and --no-image-root exclude each other: name only one")
    if image_root is not None and not image_root.is_dir():
        raise errors.InvalidInput(f"--image-root {image_root} is not a folder on this machine: name one that exists")
    with_services(
        lambda services: services.catalog.projects.update(
            project,
            dispatch_mode=dispatch_mode,
            image_root=None if image_root is None else image_root.resolve(),
            no_image_root=no_image_root,
        )
    )
    output.line(f"project {project} is set")
