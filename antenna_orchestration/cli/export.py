"""`antenna export` and `antenna check-export`: results in the formats of other programs."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.answers.export import Exported, Order
    from antenna_orchestration.exports.formats import Checked
    from antenna_orchestration.processing.services import Services


FormatArgument = Annotated[str, typer.Argument(metavar="FORMAT", help="The format.", show_default=False)]


def export(
    format_: FormatArgument,
    *,
    out: Annotated[
        str,
        typer.Option(metavar="PATH", help="The file or the new folder to write, or s3://…", show_default=False),
    ],
    job: Annotated[
        list[int] | None, typer.Option(metavar="N", help="A job; may be repeated.", show_default="none")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="All finished jobs of this project.", show_default="none")
    ] = None,
    set_: Annotated[
        str | None,
        typer.Option(
            "--set", metavar="NAME", help="Only photographs of this capture set of the project.", show_default="all"
        ),
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Results of this pipeline.", show_default="all")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Photographs of this deployment.", show_default="all")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="The first night.", show_default="the first")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The last night.", show_default="the last")
    ] = None,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="KIND", help="Of tables: csv, parquet or xlsx.", show_default="csv"),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Of yolo: none, or link for links to the files.", show_default="none"),
    ] = None,
    shapes: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Of yolo: boxes, masks as polygons, or rotated boxes.", show_default="boxes"),
    ] = None,
    empty: Annotated[
        bool, typer.Option("--empty", help="Of label-studio: also photographs on which nothing was found.")
    ] = False,
    dataset: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="dataset.yaml: who made it, under which licences.", show_default="the project's"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="T", help="Leave out detections with a lower score.", show_default="0"),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out what lacks what the format demands, and say so.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier export in the same place.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check it as well, as `antenna check-export` does.")] = False,
    json_: JsonOption = False,
) -> None:
    """Write results in a format of other programs.

    Formats: tables (CSV, Parquet or XLSX), megadetector (Timelapse, AddaxAI), camtrap-dp, dwca (GBIF), coco, yolo,
    label-studio, antenna, crops, pictures, duckdb.
    """
    from antenna_orchestration.answers import export as verb
    from antenna_orchestration.answers.named_files import content_of
    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.exports import dataset as descriptions
    from antenna_orchestration.exports import formats
    from antenna_orchestration.exports.selection import Selection

    if (project is None) == (not job):
        raise errors.InvalidInput("name either jobs with --job N, or a project with --project SLUG")
    order = verb.order(
        formats.named(format_),
        Selection(
            project=project,
            jobs=tuple(JobId(one) for one in job or ()),
            capture_set=set_,
            pipeline=pipeline,
            deployment=deployment,
            first=_night("--from", first),
            last=_night("--to", last),
            threshold=threshold or 0.0,
        ),
        out=out,
        options={
            **({"as": as_} if as_ is not None else {}),
            **({"images": images} if images is not None else {}),
            **({"shapes": shapes} if shapes is not None else {}),
            **({"empty": "yes"} if empty else {}),
        },
        dataset=descriptions.read(content_of(dataset, descriptions.MOST_BYTES), str(dataset)) if dataset else None,
        partial=partial,
        replace=replace,
        check=check,
    )

    async def run(services: Services) -> Exported:
        return await verb.export(services, order)

    made = with_services(run)
    if json_:
        output.outcome_as_json(_as_json(made, order))
    else:
        _print(made, order)
    if made.checked is not None and made.checked.faults:
        raise typer.Exit(1)


def _print(made: Exported, order: Order) -> None:
    output.outcome(made.summary)
    if not made.is_complete:
        output.warn("not all images have a result yet: these are the results so far")
    for line in made.written.left_out:
        output.warn(f"left out: {line}")
    for line in made.written.notes:
        output.note(line)
    if made.checked is not None:
        _print_checked(made.checked, order.format.name, made.uri)


def check_export(
    format_: FormatArgument,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file or folder.", show_default=False)],
    *,
    json_: JsonOption = False,
) -> None:
    """Check a file or folder of a format.

    By our own rules, and with the format's usual validator where that is installed (extra `validators`).
    """
    from antenna_orchestration.exports import formats

    found = formats.named(format_).check(path)
    if json_:
        output.as_json(_checked_as_json(found))
    else:
        _print_checked(found, format_, str(path))
    if found.faults:
        raise typer.Exit(1)


def _night(option: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text is not None else None
    except ValueError:
        raise errors.InvalidInput(f"{option} {text!r} is not a date such as 2026-06-01") from None


def _as_json(made: Exported, order: Order) -> dict[str, object]:
    return {
        "format": order.format.name,
        "uri": made.uri,
        "complete": made.is_complete,
        "counts": dict(made.written.counts),
        "left_out": list(made.written.left_out),
        "notes": list(made.written.notes),
        "check": None if made.checked is None else _checked_as_json(made.checked),
    }


def _checked_as_json(found: Checked) -> dict[str, object]:
    return {"faults": list(found.faults), "checked_by": list(found.by), "not_checked": list(found.unchecked)}


def _print_checked(found: Checked, format_: str, where: str) -> None:
    for line in found.unchecked:
        output.warn(f"not checked: {line}")
    for line in found.faults:
        output.line(line)
    if not found.faults:
        output.line(f"{where} is valid {format_}, checked by {', '.join(found.by)}")
