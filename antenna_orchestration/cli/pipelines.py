"""`antenna pipelines`: what can be run. Works without any server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output

if TYPE_CHECKING:
    from antenna_orchestration.pipelines.interface import PipelineSpec

app = typer.Typer(help="List and show pipelines.", no_args_is_help=True, rich_markup_mode=None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_SHOWN_LABELS = 12


@app.command("list")
def list_(json_: JsonOption = False) -> None:
    """List the pipelines that jobs can name."""
    from antenna_orchestration.pipelines import registry

    specs = registry.all_pipelines()
    if json_:
        output.as_json([_as_dict(spec) for spec in specs.values()])
        return
    rows = [
        (spec.slug, spec.version, "default" if spec.slug == registry.DEFAULT_PIPELINE else "", spec.description)
        for spec in specs.values()
    ]
    output.console().print(output.table(("PIPELINE", "VERSION", "", "DESCRIPTION"), rows))


@app.command()
def show(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The pipeline.", show_default=False)],
    json_: JsonOption = False,
) -> None:
    """Show a pipeline's algorithms and settings."""
    from antenna_orchestration.pipelines import registry

    spec = registry.get(slug)
    if json_:
        output.as_json(_as_dict(spec))
        return
    console = output.console()
    values: dict[str, Any] = {
        "pipeline": spec.slug,
        "name": spec.name,
        "version": spec.version,
        "description": spec.description or None,
        "images a batch": spec.batch_size,
    }
    console.print(output.pairs(values))
    console.print()
    rows = [(one.key, one.version, one.task, _labels(one.labels), one.description) for one in spec.algorithms]
    console.print(output.table(("ALGORITHM", "VERSION", "TASK", "LABELS", "DESCRIPTION"), rows))
    if spec.default_config:
        console.print()
        defaults = [(name, repr(value)) for name, value in spec.default_config.items()]
        console.print(output.table(("SETTING (--config)", "DEFAULT"), defaults))


def _as_dict(spec: PipelineSpec) -> dict[str, Any]:
    return {
        "slug": spec.slug,
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "batch_size": spec.batch_size,
        "config": dict(spec.default_config),
        "algorithms": [
            {
                "key": one.key,
                "version": one.version,
                "name": one.name,
                "task": one.task,
                "description": one.description,
                "uri": one.uri,
                "labels": list(one.labels),
            }
            for one in spec.algorithms
        ],
    }


def _labels(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:_SHOWN_LABELS])
    return f"{shown}, … ({len(labels)})" if len(labels) > _SHOWN_LABELS else shown
