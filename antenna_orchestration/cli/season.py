"""`antenna season`: the nights of a project's season, and what is wrong with them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.answers.season import Looked
    from antenna_orchestration.processing.services import Services


def season(
    *,
    project: Annotated[str, typer.Option(metavar="SLUG", help="The project.")] = "default",
    nights: Annotated[int, typer.Option(metavar="N", min=1, help="Show so many nights, the newest ones.")] = 14,
    all_: Annotated[bool, typer.Option("--all", help="Show all nights, and all that was ever wrong.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show how a season goes, and what is wrong.

    The nights are those of all finished jobs of the project; no photograph counts twice. They are brought up to date
    first: nights that changed are made anew from the results. What is wrong is what the checks of Dagster's asset
    `season` say: silent traps, clocks that are off, cards copied in part, implausible catches, slow workers.
    """

    async def look(services: Services) -> Looked:
        from antenna_orchestration.answers import season as verb

        return await verb.look(services, project)

    seen = with_services(look)
    if json_:
        output.as_json(_as_json(seen))
        return
    shown = seen.nights if all_ else seen.nights[-nights:]
    wrong = {(one.night, one.deployment): one.kind for one in seen.findings}
    output.show_table(
        ("NIGHT", "DEPLOYMENT", "FOUND", "EXPECTED", "FAILED", "EMPTY", "DETECTIONS", "TAXA", "WRONG"),
        [
            (
                night.night,
                row["deployment"] or "-",
                *(row[name] for name in ("found", "expected", "failed", "empty", "detections", "taxa")),
                wrong.get((night.night, row["deployment"]), ""),
            )
            for night in shown
            for row in night.rows
        ],
        numbers=("FOUND", "EXPECTED", "FAILED", "EMPTY", "DETECTIONS", "TAXA"),
        shrinks=("DEPLOYMENT",),
        drops=("EMPTY", "TAXA", "EXPECTED"),
        empty="no photograph has a night: none has results, or their times are not known",
    )
    if rest := len(seen.nights) - len(shown):
        output.line(f"and {counted(rest, 'earlier night')}; --all shows them")
    now = datetime.now(UTC)
    told = [one for one in seen.findings if all_ or one.is_new(now)]
    output.line()
    output.show_table(
        ("NIGHT", "DEPLOYMENT", "CHECK", "WHAT IS WRONG"),
        [(one.night, one.deployment or "-", one.kind, one.text) for one in told],
        shrinks=("DEPLOYMENT",),
        wraps=("WHAT IS WRONG",),
        empty="nothing is wrong",
    )
    if rest := len(seen.findings) - len(told):
        output.line(f"and {counted(rest, 'older one')}; --all shows them")


def _as_json(seen: Looked) -> dict[str, Any]:
    return {
        "project": seen.project,
        "made_anew": list(seen.made_anew),
        "nights": [dataclasses.asdict(night) for night in seen.nights],
        "findings": [dataclasses.asdict(one) for one in seen.findings],
    }
