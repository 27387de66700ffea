"""`antenna sets`: capture sets; choose known photographs once, and submit and export just those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_records, with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.catalog.capture_sets import CaptureSet
    from antenna_orchestration.domain.capture_sets import NightOfSet

app = typer.Typer(
    help="Keep lists of photographs, to submit and export.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The set.", show_default=False)]
ProjectOption = Annotated[str, typer.Option(metavar="SLUG", help="Project of the photographs.")]


@app.command()
def create(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Name of the set within the project: lower-case letters, digits, - and _.",
            show_default=False,
        ),
    ],
    *,
    project: ProjectOption = "default",
    deployment: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Photographs of this deployment; may be repeated.", show_default="all"),
    ] = None,
    nights: Annotated[
        str,
        typer.Option(
            metavar="A..B",
            help="Photographs of these nights: 2026-06-12, 2026-06-12..2026-06-20, 2026-06-12.. or ..2026-06-20.",
            show_default="all",
        ),
    ] = "",
    with_detections: Annotated[
        bool, typer.Option("--with-detections", help="Only photographs on which any pipeline found something.")
    ] = False,
    with_detections_of: Annotated[
        str | None,
        typer.Option(
            metavar="SLUG", help="Only photographs on which this pipeline found something.", show_default="none"
        ),
    ] = None,
    not_processed_by: Annotated[
        str | None,
        typer.Option(
            metavar="SLUG", help="Only photographs that a job of this pipeline would not skip.", show_default="none"
        ),
    ] = None,
    every: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="The first photograph of each deployment in each interval, such as 10m, counted from noon.",
            show_default="all",
        ),
    ] = "",
    nth: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The first photograph of each deployment and night, and each Nth after it.",
            show_default="all",
        ),
    ] = None,
    per_night: Annotated[
        int | None,
        typer.Option(metavar="N", help="At most N of each deployment and night, drawn at random.", show_default="all"),
    ] = None,
    random: Annotated[
        int | None, typer.Option(metavar="N", help="At most N of all, drawn at random.", show_default="all")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="With the same seed the same photographs are drawn.", show_default="a new one, which is kept"
        ),
    ] = None,
    time_zone: Annotated[
        str,
        typer.Option(
            metavar="ZONE",
            help="Cut nights at noon there where the deployment's zone is not known.",
            show_default="ANTENNA_TIME_ZONE, or UTC",
        ),
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a set of this name.")] = False,
    json_: JsonOption = False,
) -> None:
    """Choose photographs that are known, and keep their list.

    The list stays as it is, whatever is submitted later. Filters come first (deployments, nights, detections, what was
    processed), then --every or --nth, then --per-night, then --random: each takes from what the one before left.
    """
    from antenna_orchestration import settings
    from antenna_orchestration.domain import capture_sets as rules
    from antenna_orchestration.domain.capture_sets import Rule
    from antenna_orchestration.domain.nights import nights_named
    from antenna_orchestration.processing import capture_sets

    rule = Rule(
        deployments=tuple(dict.fromkeys(deployment or ())),
        nights=nights_named(nights),
        with_detections=with_detections,
        with_detections_of=with_detections_of,
        not_processed_by=not_processed_by,
        every=rules.every_seconds(every),
        nth=nth,
        per_night=per_night,
        random=random,
        seed=seed,
        time_zone=time_zone or settings.get().time_zone,
    )
    made = with_services(lambda services: capture_sets.create(services, project, name, rule, again=replace))
    _print_made(made, as_json=json_)


@app.command()
def refresh(name: NameArgument, *, project: ProjectOption = "default", json_: JsonOption = False) -> None:
    """Make the list anew by the same rule and seed, as of now."""
    from antenna_orchestration.processing import capture_sets

    _print_made(with_services(lambda services: capture_sets.refresh(services, project, name)), as_json=json_)


@app.command("list")
def list_(
    *,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Only of this project.", show_default="all")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List capture sets."""
    from antenna_orchestration.processing import capture_sets

    found = with_records(lambda records: records.catalog.capture_sets.list(project))
    if json_:
        output.as_json([capture_sets.as_dict(one) for one in found])
        return
    output.show_table(
        ("PROJECT", "SET", "PHOTOGRAPHS", "MADE", "RULE"),
        [
            (one.project, one.name, one.photographs, output.ago(one.made_at), "; ".join(one.rule.in_words))
            for one in found
        ],
        numbers=("PHOTOGRAPHS",),
        shrinks=("PROJECT", "SET"),
        wraps=("RULE",),
        drops=("MADE",),
        empty="there is no capture set; `antenna sets create NAME` makes one",
    )


@app.command()
def show(name: NameArgument, *, project: ProjectOption = "default", json_: JsonOption = False) -> None:
    """Show a set: its rule, its nights, and what has processed it."""
    from antenna_orchestration.domain import capture_sets as rules
    from antenna_orchestration.processing import capture_sets
    from antenna_orchestration.processing.capture_sets import Contents
    from antenna_orchestration.processing.services import Records

    async def look(records: Records) -> tuple[CaptureSet, Contents]:
        one = await records.catalog.capture_sets.get(project, name)
        return one, await capture_sets.contents(records, one)

    one, inside = with_records(look)
    if json_:
        output.as_json(
            {
                **capture_sets.as_dict(one),
                "there": inside.photographs,
                "nights": [
                    {"deployment": night.deployment, "night": night.night, "photographs": night.photographs}
                    for night in inside.nights
                ],
                "processed_by": [
                    {
                        "pipeline": by.pipeline,
                        "version": by.version,
                        "photographs": by.photographs,
                        "with_detections": by.with_detections,
                    }
                    for by in inside.processed_by
                ],
            }
        )
        return
    gone = one.photographs - inside.photographs
    output.show_pairs(
        {
            "set": one.name,
            "project": one.project,
            "rule": one.rule.in_words,
            "photographs": one.photographs,
            "gone": f"{gone} of them are not known any more" if gone else None,
            "not chosen": rules.in_words(one.not_chosen) or None,
            "made": f"{output.clock(one.made_at)} by {one.created_by}",
            "processed by": [
                f"{by.pipeline} {by.version or ''}: {by.photographs:,}, {by.with_detections:,} with detections"
                for by in inside.processed_by
            ]
            or "nothing yet",
        }
    )
    output.line()
    output.show_table(
        ("DEPLOYMENT", "NIGHT", "PHOTOGRAPHS"),
        [_night(one) for one in inside.nights],
        numbers=("PHOTOGRAPHS",),
        shrinks=("DEPLOYMENT",),
        empty="none of its photographs is known any more",
    )


@app.command()
def remove(name: NameArgument, *, project: ProjectOption = "default") -> None:
    """Forget a set. Its photographs, their jobs and results stay."""
    with_records(lambda records: records.catalog.capture_sets.remove(project, name))
    output.outcome(f"capture set {name} is removed; its photographs and their results stay")


def _night(one: NightOfSet) -> Sequence[Any]:
    from antenna_orchestration.domain.nights import TIME_UNKNOWN

    return (one.deployment or "none", one.night or TIME_UNKNOWN, one.photographs)


def _print_made(made: CaptureSet, *, as_json: bool) -> None:
    from antenna_orchestration.domain import capture_sets as rules
    from antenna_orchestration.domain.texts import counted
    from antenna_orchestration.processing import capture_sets

    if as_json:
        output.outcome_as_json(capture_sets.as_dict(made))
        return
    output.outcome(f"capture set {made.name}: {counted(made.photographs, 'photograph')}")
    if made.not_chosen:
        output.note(f"not chosen: {rules.in_words(made.not_chosen)}")
    if made.rule.draws:
        output.note(f"drawn with seed {made.rule.seed}")
    of_project = "" if made.project == "default" else f" --project {made.project}"
    output.note(f"`antenna submit --set {made.name}{of_project}` processes just these")
