"""`antenna pipelines`: what can be run, and the files that it takes. Works without any server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output

if TYPE_CHECKING:
    from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

app = typer.Typer(help="List and show pipelines, download their weights.", no_args_is_help=True, rich_markup_mode=None)

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
    output.show_table(("PIPELINE", "VERSION", "", "DESCRIPTION"), rows, wraps=("DESCRIPTION",))


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
        "images per batch": spec.batch_size,
        "takes boxes": "yes, with --detections-of" if spec.takes_detections else "no",
    }
    console.print(output.pairs(values))
    console.print()
    rows = [(one.key, one.version, one.task, _shown(_labels(one)), one.description) for one in spec.algorithms]
    output.show_table(
        ("ALGORITHM", "VERSION", "TASK", "LABELS", "DESCRIPTION"),
        rows,
        shrinks=("ALGORITHM", "TASK"),
        wraps=("LABELS", "DESCRIPTION"),
    )
    if files := _files(spec):
        console.print()
        # Addresses are copied from here: they are broken where they must be, and not cut.
        here = [(uri, path or "not yet") for uri, path in files.items()]
        output.show_table(("FILE", "HERE"), here, wraps=("FILE", "HERE"))
    if spec.default_config:
        console.print()
        console.print(
            "Settings that a job may change, with --config '{\"NAME\": VALUE}':", highlight=False, markup=False
        )
        rows = [
            (name, spec.kind(name), json.dumps(value), spec.allowed(name), spec.meanings.get(name, ""))
            for name, value in spec.default_config.items()
        ]
        output.show_table(
            ("SETTING", "TYPE", "DEFAULT", "VALUES", "MEANING"), rows, wraps=("DEFAULT", "VALUES", "MEANING")
        )


@app.command()
def fetch(
    slugs: Annotated[list[str], typer.Argument(metavar="SLUG…", help="The pipelines.", show_default=False)],
    json_: JsonOption = False,
) -> None:
    """Download pipelines' weights and labels before workers need them."""
    from antenna_orchestration.pipelines import registry, weights

    output.show_own_logs("INFO")
    wanted = [uri for spec in [registry.get(slug) for slug in slugs] for uri in _addresses(spec)]
    paths = {uri: str(weights.fetch(uri)) for uri in dict.fromkeys(wanted)}
    if json_:
        output.as_json(paths)
        return
    for path in paths.values():
        output.line(path)


def _addresses(spec: PipelineSpec) -> list[str]:
    """The files of a pipeline, each once."""
    named = [uri for one in spec.algorithms for uri in (one.uri, one.labels_uri) if uri]
    return list(dict.fromkeys(named))


def _files(spec: PipelineSpec) -> dict[str, str | None]:
    """The pipeline's files, and where each lies on this machine; None for one that is still to be fetched."""
    from antenna_orchestration.pipelines import weights

    paths = {uri: weights.cached_path(uri) for uri in _addresses(spec)}
    return {uri: str(path) if path.is_file() else None for uri, path in paths.items()}


def _as_dict(spec: PipelineSpec) -> dict[str, Any]:
    return {
        "slug": spec.slug,
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "batch_size": spec.batch_size,
        "takes_detections": spec.takes_detections,
        "config": dict(spec.default_config),
        "choices": {name: list(values) for name, values in spec.choices.items()},
        "ranges": {name: list(values) for name, values in spec.ranges.items()},
        "meanings": dict(spec.meanings),
        "algorithms": [
            {
                "key": one.key,
                "version": one.version,
                "name": one.name,
                "task": one.task,
                "description": one.description,
                "uri": one.uri,
                "labels_uri": one.labels_uri,
                "labels": list(_labels(one)),
            }
            for one in spec.algorithms
        ],
    }


def _labels(algorithm: AlgorithmSpec) -> tuple[str, ...]:
    """The algorithm's labels, those in a file only if it is on this machine."""
    from antenna_orchestration.pipelines import labels, weights

    if algorithm.labels or algorithm.labels_uri is None:
        return algorithm.labels
    return labels.fetch_labels(algorithm) if weights.cached_path(algorithm.labels_uri).is_file() else ()


def _shown(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:_SHOWN_LABELS])
    return f"{shown}, … ({len(labels)})" if len(labels) > _SHOWN_LABELS else shown
