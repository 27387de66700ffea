"""`antenna pipelines`: what can be run, and the files that it takes. Works without any server.

Only to show a pipeline that a worker registered over HTTP, the catalog is asked.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import beginning, output, trying
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec
    from antenna_orchestration.pipelines.registry import Registry

app = typer.Typer(
    help="List, try and show pipelines, download their weights.", no_args_is_help=True, rich_markup_mode=None
)
app.command("try")(trying.try_)
app.command("new")(beginning.new)


_SHOWN_LABELS = 12


@app.command("list")
def list_(
    pushed: Annotated[
        bool, typer.Option("--pushed", help="List what was pushed to the lake instead, and what of it is here.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """List the pipelines of jobs, and where your own come from."""
    from antenna_orchestration.pipelines import registry

    found = registry.read()
    specs = found.pipelines
    if pushed:
        _list_pushed(found, json_=json_)
        return
    if json_:
        output.as_json([_as_dict(spec) for spec in specs.values()])
        _warn_of_broken(found)
        return
    rows = [
        (spec.slug, spec.version, "default" if spec.slug == registry.DEFAULT_PIPELINE else "", spec.description)
        for spec in specs.values()
    ]
    output.show_table(("PIPELINE", "VERSION", "", "DESCRIPTION"), rows, wraps=("DESCRIPTION",))
    if own := [spec for spec in specs.values() if not spec.origin.is_built_in]:
        output.console().print()
        from antenna_orchestration.pipelines import identity

        places = [(spec.slug, identity.digest_of(spec)[:12] or "not known", str(spec.origin)) for spec in own]
        output.show_table(("OF YOUR OWN", "DIGEST", "DEFINED IN"), places, wraps=("DEFINED IN",))
    _warn_of_broken(found)


def _list_pushed(found: Registry, *, json_: bool) -> None:
    """What is in the lake's store, and what this machine has of it."""
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.lake.folder import storage_options
    from antenna_orchestration.lake.store import Lake
    from antenna_orchestration.pipelines import identity
    from antenna_orchestration.processing import pulled, pushed

    settings = settings_module.get()
    lake = Lake(settings.lake, storage_options=storage_options(settings))
    own = {identity.digest_of(spec): spec for spec in found.pipelines.values() if not spec.origin.is_built_in}
    there = pushed.pushed(lake)

    def here(digest: str) -> str:
        if digest in own:
            return str(own[digest].origin)
        return "fetched" if (pulled.folder(settings.home) / digest).is_dir() else ""

    missing = {digest: spec for digest, spec in own.items() if digest not in {one.digest for one in there}}
    if json_:
        output.as_json([
            {
                "slug": one.slug, "version": one.version, "digest": one.digest, "kind": one.kind,
                "requirements": list(one.requirements), "bytes": sum(file.size for file in one.files),
                "pushed_by": one.pushed_by, "pushed_at": one.pushed_at, "here": here(one.digest) or None,
            }
            for one in there
        ])  # fmt: skip
    else:
        rows = [
            (one.slug, one.version, one.digest[:12], one.pushed_by, one.pushed_at[:10], here(one.digest))
            for one in there
        ]
        columns = ("PIPELINE", "VERSION", "DIGEST", "PUSHED BY", "ON", "HERE")
        output.show_table(
            columns, rows, shrinks=("PIPELINE", "PUSHED BY"), wraps=("HERE",), empty=f"nothing was pushed to {lake.uri}"
        )
    for spec in missing.values():
        output.note(f"not pushed, as it is now: {spec.slug} {spec.version} ({spec.origin})")
    _warn_of_broken(found)


@app.command()
def show(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="The pipeline.", show_default=False)],
    json_: JsonOption = False,
) -> None:
    """Show a pipeline's algorithms and settings."""
    spec = _spec(slug)
    if json_:
        from antenna_orchestration.pipelines import identity

        output.as_json({**_as_dict(spec), "digest": identity.digest_of(spec) or None if spec.factory else None})
        return
    console = output.console()
    values: dict[str, Any] = {
        "pipeline": spec.slug,
        "name": spec.name,
        "version": spec.version,
        "digest": _digest(spec),
        "defined in": None if spec.origin.is_built_in else str(spec.origin),
        "description": spec.description or None,
        "images per batch": spec.batch_size if spec.factory else None,
        "takes boxes": "yes, with --detections-of" if spec.takes_detections else "no",
    }
    output.show_pairs(values)
    console.print()
    rows = [(one.key, one.version, one.task, _shown(_labels(one)), one.description) for one in spec.algorithms]
    output.show_table(
        ("ALGORITHM", "VERSION", "TASK", "LABELS", "DESCRIPTION"),
        rows,
        shrinks=("ALGORITHM", "TASK"),
        wraps=("LABELS", "DESCRIPTION"),
    )
    for one in spec.algorithms:
        if one.categories:
            console.print()
            known = [(label, _said(said)) for label, said in zip(one.labels, one.categories, strict=True) if said]
            output.show_table((f"LABEL OF {one.key}", "WHAT IT SAYS"), known[:_SHOWN_LABELS], wraps=("WHAT IT SAYS",))
            if len(known) > _SHOWN_LABELS:
                output.note(f"{_SHOWN_LABELS} of {len(known):,} labels; --json shows all")
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
    wanted = [uri for spec in [registry.get(slug) for slug in slugs] for uri in spec.addresses]
    paths = {uri: str(weights.fetch(uri)) for uri in dict.fromkeys(wanted)}
    if json_:
        output.as_json(paths)
        return
    for path in paths.values():
        output.line(path)


@app.command()
def push(
    which: Annotated[
        str,
        typer.Argument(metavar="SLUG|FILE", help="An own pipeline, or the file that defines it.", show_default=False),
    ],
    json_: JsonOption = False,
) -> None:
    """Store a pipeline of your own in the lake, for workers elsewhere.

    Its code, weights and requirements are kept under its digest. Workers started with --pull fetch it for jobs of
    projects that allow it (`antenna projects set`). Files must be named relative to the description's.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.domain.texts import counted
    from antenna_orchestration.kernel import user_of_this_process
    from antenna_orchestration.lake.folder import storage_options
    from antenna_orchestration.lake.store import Lake
    from antenna_orchestration.pipelines import packing
    from antenna_orchestration.processing import pulled, pushed

    settings = settings_module.get()
    lake = Lake(settings.lake, storage_options=storage_options(settings))
    told = []
    for spec in _own(which):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        pack = packing.pack(spec, pushed_by=user_of_this_process(), pushed_at=now)
        for line in packing.unpinned(pack.manifest):
            output.warn(line)
        pulled.check_travels(pack)
        fresh = pushed.push(
            lake, pack, progress=lambda one: output.note(f"sending {one.path}, {one.size / 1e6:,.1f} MB")
        )
        manifest = pack.manifest
        told.append({"slug": spec.slug, "version": spec.version, "digest": manifest.digest, "fresh": fresh})
        if not json_:
            size = sum(one.size for one in manifest.files) / 1e6
            output.line(
                f"pipeline {spec.slug} {spec.version} ({manifest.digest[:12]}) "
                + (f"is in {lake.uri}: {counted(len(manifest.files), 'file')}, {size:,.1f} MB" if fresh else
                   f"was in {lake.uri} before")
            )  # fmt: skip
    if json_:
        output.as_json(told)


def _own(which: str) -> list[PipelineSpec]:
    """The pipelines of other people that a slug or a file names. Raises `InvalidInput`, `UnknownPipeline`."""
    from antenna_orchestration.pipelines import registry

    path = Path(which).expanduser()
    if not path.is_file():
        return [registry.get(which)]
    found = registry.read([path])
    for one in found.broken:
        if Path(one.origin) == path.resolve():
            raise errors.InvalidInput(f"broken: {one}")
    return [spec for spec in found.pipelines.values() if spec.origin.name == str(path.resolve())]


def _spec(slug: str) -> PipelineSpec:
    """A pipeline of this installation; else one that a worker registered, if the catalog can be reached.

    Raises `UnknownPipeline`.
    """
    from antenna_orchestration.pipelines import registry

    if slug not in registry.all_pipelines():
        # Slow, and of no use to most.
        from antenna_orchestration.processing.submit import registered_spec

        try:
            row = with_services(lambda services: services.catalog.pipelines.find(slug))
        except (errors.Unavailable, errors.InvalidSetting):
            row = None
        if row is not None:
            return registered_spec(row)
    return registry.get(slug)


def _warn_of_broken(found: Registry) -> None:
    for one in found.broken:
        output.warn(f"broken: {one}")


def _digest(spec: PipelineSpec) -> str | None:
    """What the pipeline is, or why that is not known; None for one that only others run."""
    from antenna_orchestration.pipelines import identity

    if not spec.factory:
        return None
    return identity.digest_of(spec) or f"not known: {', '.join(identity.missing_files(spec))} is not on this machine"


def _said(category: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in category.items())


def _files(spec: PipelineSpec) -> dict[str, str | None]:
    """The pipeline's files, and where each lies on this machine; None for one that is still to be fetched."""
    from antenna_orchestration.pipelines import weights

    paths = {uri: weights.cached_path(uri) for uri in spec.addresses}
    return {uri: str(path) if path.is_file() else None for uri, path in paths.items()}


def _as_dict(spec: PipelineSpec) -> dict[str, Any]:
    return {
        "slug": spec.slug,
        "name": spec.name,
        "version": spec.version,
        "defined_in": None if spec.origin.is_built_in else {"kind": spec.origin.kind, "name": spec.origin.name},
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
                "categories": [dict(said) for said in one.categories],
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
