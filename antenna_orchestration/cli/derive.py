"""`antenna derive` and `antenna tables`: derive observations, tracks, nights and counts from results, and show them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.answers.derive import Derived
    from antenna_orchestration.processing.services import Services

_SHOWN: Final = 15
"""Rows of a summary's sections; `--json` has all."""


RecipeOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A post-processing recipe, for this time only.", show_default="the project's"),
]


def derive(
    *,
    job: Annotated[int | None, typer.Option(metavar="N", help="Number of a job.", show_default="none")] = None,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="All finished jobs of this project.", show_default="none")
    ] = None,
    recipe: RecipeOption = None,
    json_: JsonOption = False,
) -> None:
    """Derive tables of a job or a project without inference.

    The tables observations, tracks, nights and counts are made from the results that are there, with the names, places,
    reviews and the recipe that hold now. The results stay as they are, and deriving again gives the same.
    """
    made = _derived(job, project, recipe)
    if json_:
        output.outcome_as_json(_as_json(made))
        return
    output.outcome(made.summary)
    _print_places(made)


def tables(
    *,
    project: Annotated[str, typer.Option(metavar="SLUG", help="The project.", show_default=False)],
    recipe: RecipeOption = None,
    json_: JsonOption = False,
) -> None:
    """Derive a project's tables, and show its nights and counts.

    They are made from the results of all of its finished jobs. No image counts twice: of each image and pipeline the
    newest finished result counts.
    """
    made = _derived(None, project, recipe)
    summary = with_services(lambda services: _summary(services, made))
    if json_:
        output.outcome_as_json({**_as_json(made), **summary})
        return
    nights, counts = summary["nights"], summary["counts"]
    output.show_table(
        ("DEPLOYMENT", "NIGHT", "PIPELINE", "PHOTOGRAPHS", "DONE", "DETECTIONS"),
        [
            (
                row["deployment"] or "-",
                row["night"] or "time unknown",
                row["pipeline"],
                row["found"],
                row["done"],
                row["detections"],
            )
            for row in nights[:_SHOWN]
        ],
        numbers=("PHOTOGRAPHS", "DONE", "DETECTIONS"),
        shrinks=("DEPLOYMENT", "PIPELINE"),
        drops=("PIPELINE",),
    )
    _rest(len(nights), "night")
    if counts:
        output.line()
    output.show_table(
        ("TAXON", "RANK", "PIPELINE", "NIGHTS", "DETECTIONS", "MAX N"),
        [
            (
                row["taxon"] or "not known",
                row["rank"] or "",
                row["pipeline"],
                row["nights"],
                row["detections"],
                row["max_n"],
            )
            for row in counts[:_SHOWN]
        ],
        numbers=("NIGHTS", "DETECTIONS", "MAX N"),
        shrinks=("TAXON", "PIPELINE"),
        drops=("PIPELINE", "RANK"),
        empty="nothing is counted",
    )
    _rest(len(counts), "taxon", "taxa")
    output.line()
    output.outcome(made.summary)
    _print_places(made)


def _derived(job: int | None, project: str | None, recipe: Path | None) -> Derived:
    from antenna_orchestration.answers import derive as verb
    from antenna_orchestration.answers import recipes
    from antenna_orchestration.domain.ids import JobId

    if (job is None) == (project is None):
        raise errors.InvalidInput("name either a job with --job or a project with --project")
    read = None if recipe is None else recipes.read(recipe)

    async def run(services: Services) -> Derived:
        return await verb.derive(services, job=None if job is None else JobId(job), project=project, recipe=read)

    return with_services(run)


async def _summary(services: Services, made: Derived) -> dict[str, Any]:
    import asyncio

    from antenna_orchestration.answers import derive as verb

    return await asyncio.to_thread(verb.summary, services.lake, made)


def _as_json(made: Derived) -> dict[str, Any]:
    return {
        "job_id": made.scope.job,
        "project": made.project,
        "recipe": made.recipe,
        "jobs": list(made.jobs),
        "rows": dict(made.rows),
        "tables": dict(made.uris),
        "warnings": list(made.warnings),
    }


def _print_places(made: Derived) -> None:
    for warning in made.warnings:
        output.warn(warning)
    for uri in made.uris.values():
        output.line(uri)


def _rest(count: int, one: str, many: str | None = None) -> None:
    if (rest := count - _SHOWN) > 0:
        output.line(f"and {counted(rest, f'more {one}', f'more {many or one + chr(115)}')}")
