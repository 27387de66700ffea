"""`antenna pipelines new`: the file of a pipeline of one's own, written from what a model's file tells."""

from __future__ import annotations

import os
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output

if TYPE_CHECKING:
    from antenna_orchestration.pipelines.declared.beginnings import Beginning


class Kind(StrEnum):
    """What one has; `beginnings.KINDS` in their order."""

    YOLO = "yolo"
    TIMM = "timm"
    HF = "hf"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    PT2 = "pt2"
    PYTHON = "python"


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new pipeline's slug.", show_default=False)],
    file: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="The model's file; for hf its folder.", show_default=False),
    ] = None,
    *,
    kind: Annotated[Kind, typer.Option("--from", help="What you have; python: code of your own.", show_default=False)],
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Labels: a list, or one a line.", show_default="the model's own, if it has"),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME", help="timm's name of the architecture, such as resnet50.")] = "",
    detector: Annotated[
        str, typer.Option(metavar="SLUG|none", help="Whose crops a classifier names; none: whole photographs.")
    ] = "light_trap_insects",
) -> None:
    """Write the file of a new pipeline into this folder.

    What the model's file tells is filled in; what is left to you is said in the file and printed. Nothing is written
    over.
    """
    from antenna_orchestration.domain import ids
    from antenna_orchestration.pipelines import registry
    from antenna_orchestration.pipelines.declared import beginnings

    ids.slug(name, "pipeline name")
    if name in registry.all_pipelines():
        raise errors.Conflict(f"there is a pipeline {name} already ({registry.get(name).origin}): choose another name")
    needs_file = kind is not Kind.PYTHON
    if needs_file and file is None:
        raise errors.InvalidInput(f"name the model's {'folder' if kind is Kind.HF else 'file'}, too")
    if not needs_file and file is not None:
        raise errors.InvalidInput("python takes no model: open it in the `load` of the file that is written")
    here = Path.cwd()
    asked = beginnings.Asked(
        slug=name,
        file=_named(here, file, folder=kind is Kind.HF) if file is not None else "",
        path=Path(file).expanduser() if file is not None else None,
        model=model,
        labels=_named(here, labels, folder=False) if labels is not None else "",
        detector=detector,
    )
    beginning = beginnings.of(kind, asked)
    target = here / beginning.name
    if target.exists():
        raise errors.Conflict(f"{target} exists already: choose another name, or delete it")
    _check(beginning)
    with target.open("x", encoding="utf-8") as stream:
        stream.write(beginning.text)
    output.line(f"{beginning.name} is written")
    for one in beginning.to_do:
        output.note(f"to do: {one}")
    output.note(f"next: antenna pipelines try {beginning.name} PHOTO --out boxes")


def _named(here: Path, file: str, *, folder: bool) -> str:
    """The file as one in `here` names it. Raises `InvalidInput` if it is not there."""
    path = Path(file).expanduser()
    if not (path.is_dir() if folder else path.is_file()):
        raise errors.InvalidInput(f"{path}: there is no such {'folder' if folder else 'file'}")
    return os.path.relpath(path.resolve(), here.resolve())


def _check(beginning: Beginning) -> None:
    """Raise `InvalidInput` if the file could not be read, before it is there."""
    from antenna_orchestration.pipelines import registry

    with tempfile.TemporaryDirectory(prefix="antenna-new-") as folder:
        draft = Path(folder) / beginning.name
        draft.write_text(beginning.text, encoding="utf-8")
        for one in registry.broken([draft]):
            if one.origin == str(draft.resolve()):
                raise errors.InvalidInput(f"the file would be broken: {one.reason}")
