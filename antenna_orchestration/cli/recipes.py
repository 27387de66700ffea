"""`antenna recipes`: what is made of results after inference; show, check, set, list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services, with_services_making
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.ecology.recipes import Recipe
    from antenna_orchestration.processing.services import Services

app = typer.Typer(
    help="Choose what is made of results: flags, names, tracks.", no_args_is_help=True, rich_markup_mode=None
)

ProjectOption = Annotated[str, typer.Option(metavar="SLUG", help="The project.")]
BuiltInOption = Annotated[bool, typer.Option("--default", help="The built-in recipe.")]


@app.command()
def show(*, project: ProjectOption = "default", default: BuiltInOption = False, json_: JsonOption = False) -> None:
    """Show the recipe that holds for a project, with all values.

    What it prints is a file that `antenna recipes set` takes.
    """
    from antenna_orchestration.answers import recipes as verbs
    from antenna_orchestration.ecology import recipes

    recipe = recipes.default() if default else with_services(lambda services: verbs.shown(services, project))
    if json_:
        output.as_json({"recipe": recipe.hash, **recipe.as_data()})
        return
    for line in recipe.text.rstrip("\n").split("\n"):
        output.line(line)
    output.note(f"recipe {recipe.hash}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recipe.", show_default=False)],
    *,
    json_: JsonOption = False,
) -> None:
    """Check a recipe, and show its steps with all parameters."""
    from antenna_orchestration.answers import recipes as verbs

    recipe = verbs.read(file)
    for hint in recipe.hints:
        output.warn(hint)
    if json_:
        output.as_json({"recipe": recipe.hash, **recipe.as_data()})
        return
    for name, parameters in recipe.steps:
        values = ", ".join(f"{key} {_shown(value)}" for key, value in parameters.model_dump(by_alias=True).items())
        output.line(f"{name}: {values}" if values else name)
    output.line(f"counts leave out: {', '.join(sorted(recipe.count_without)) or 'nothing'}")
    output.note(f"recipe {recipe.hash}; `antenna recipes set {file} --project …` lets it hold")


@app.command("set")
def set_(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="The recipe, or the hash of an earlier one.", show_default=False),
    ] = None,
    *,
    project: ProjectOption = "default",
    default: BuiltInOption = False,
    json_: JsonOption = False,
) -> None:
    """Let a recipe hold for a project.

    Tables that are derived from then on are made with it; those that are there stay until they are derived again.
    """
    from antenna_orchestration.answers import recipes as verbs
    from antenna_orchestration.kernel import user_of_this_process

    if (file is None) != default:
        raise errors.InvalidInput("name either a file or --default")
    by = user_of_this_process()
    earlier = file if file is not None and verbs.is_hash(file) and not Path(file).exists() else None
    recipe = None if file is None or earlier else verbs.read(Path(file))
    for hint in recipe.hints if recipe else ():
        output.warn(hint)

    async def run(services: Services) -> str:
        if earlier is not None:
            return await verbs.use_earlier(services, project, earlier, by=by)
        return await _use(services, project, recipe, by)

    hash_ = with_services_making(project, run)
    if json_:
        output.outcome_as_json({"project": project, "recipe": hash_, "is_built_in": default})
        return
    output.outcome(f"recipe {hash_} holds for project {project}")
    output.note(f"`antenna tables --project {project}` derives its tables with it")


async def _use(services: Services, project: str, recipe: Recipe | None, by: str) -> str:
    from antenna_orchestration.answers import recipes as verbs

    if recipe is None:
        return await verbs.use_built_in(services, project)
    return await verbs.use(services, project, recipe, by=by)


@app.command("list")
def list_(*, project: ProjectOption = "default", json_: JsonOption = False) -> None:
    """List the recipes that a project has or had."""
    from antenna_orchestration.answers import recipes as verbs

    found = with_services(lambda services: verbs.versions(services, project))
    if json_:
        output.as_json(
            [
                {
                    "recipe": one.hash,
                    "holds": one.holds,
                    "created_by": one.created_by,
                    "created_at": one.created_at.isoformat(),
                    "text": one.text,
                }
                for one in found
            ]
        )
        return
    output.show_table(
        ("RECIPE", "HOLDS", "SET BY", "SET"),
        [(one.hash, "yes" if one.holds else "", one.created_by, output.ago(one.created_at)) for one in found],
        shrinks=("SET BY",),
        empty="no recipe of its own; the built-in one holds",
    )
    if found and not any(one.holds for one in found):
        output.note("none of these holds, but the built-in one")


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        # As YAML has it.
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
