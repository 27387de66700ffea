"""Finds the descriptions of all pipelines: built-in ones, those of installed packages, and those in a user's files.

`_BUILT_IN` lists the modules that define the built-in specs. An installed package adds its own through the entry-point
group `antenna.pipelines`. A user without a package puts a .py file with `PIPELINES = [PipelineSpec(...)]`, or the .yaml
of an exported program, on `ANTENNA_PIPELINE_PATHS`.

The registry handles descriptions only, so neither this module nor anything it imports may import torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from antenna_orchestration import errors, settings
from antenna_orchestration.domain import ids
from antenna_orchestration.pipelines.declared import description
from antenna_orchestration.pipelines.interface import PipelineSpec

DEFAULT_PIPELINE: Final = "light_trap_insects"
"""Slug of the pipeline for submissions that name none."""

ENTRY_POINTS: Final = "antenna.pipelines"
"""Entry-point group of packages; each entry point is a `PipelineSpec` or a list of them."""

_BUILT_IN: Final = (
    "antenna_orchestration.pipelines.light_trap.specs",
    "antenna_orchestration.pipelines.published.specs",
    "antenna_orchestration.pipelines.null",
)


def all_pipelines(paths: Iterable[Path] | None = None) -> Mapping[str, PipelineSpec]:
    """All pipelines by slug, built-in ones first. `paths` overrides the setting `ANTENNA_PIPELINE_PATHS`.

    Each set of paths is read once per process. Raises `InvalidSetting` if a file on the paths cannot be loaded,
    `InternalError` if an entry point of an installed package cannot, and one of the two if two pipelines have the same
    slug.
    """
    return _load(tuple(settings.get().pipeline_paths if paths is None else paths))


def get(slug: str, paths: Iterable[Path] | None = None) -> PipelineSpec:
    """The pipeline with this slug.

    Raises `UnknownPipeline` with a list of the known slugs, and what `all_pipelines` raises.
    """
    known = all_pipelines(paths)
    if slug not in known:
        raise errors.UnknownPipeline(f"there is no pipeline {slug!r}; there are: {', '.join(known)}")
    return known[slug]


@lru_cache(maxsize=8)
def _load(paths: tuple[Path, ...]) -> Mapping[str, PipelineSpec]:
    found: dict[str, PipelineSpec] = {}
    origins: dict[str, str] = {}
    for error, origin, specs in _sources(paths):
        for spec in _as_specs(specs, origin, error):
            if spec.slug in found:
                raise error(f"two pipelines are called {spec.slug!r}: one of {origins[spec.slug]}, one of {origin}")
            found[spec.slug] = spec
            origins[spec.slug] = origin
    return MappingProxyType(found)


def _sources(paths: Iterable[Path]) -> Iterator[tuple[type[errors.AntennaError], str, Any]]:
    """Each source of specs: the error to raise for a fault in it, its name for messages, and what it defines."""
    for name in _BUILT_IN:
        yield errors.InternalError, name, importlib.import_module(name).PIPELINES
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        origin = f"entry point {entry.name} = {entry.value}"
        try:
            value = entry.load()
        except Exception as error:
            raise errors.InternalError(f"{origin}: {type(error).__name__}: {error}") from error
        yield errors.InternalError, origin, value
    for path in paths:
        for file in _files(path):
            is_yaml = file.suffix in description.SUFFIXES
            yield errors.InvalidSetting, str(file), description.from_yaml(file) if is_yaml else _import_file(file)


def _files(path: Path) -> list[Path]:
    """The pipeline files at a path: the file itself, or those in a folder. Files named `_*` there are helpers."""
    path = path.resolve()
    if path.is_dir():
        suffixes = (".py", *description.SUFFIXES)
        return sorted(file for file in path.iterdir() if file.suffix in suffixes and not file.name.startswith("_"))
    if path.is_file():
        return [path]
    raise errors.InvalidSetting(f"ANTENNA_PIPELINE_PATHS: no file or folder {path}")


def _import_file(file: Path) -> Any:
    """Import a file and return its `PIPELINES`. Its folder goes on `sys.path`, for `factory` and for helper modules."""
    if str(file.parent) not in sys.path:
        # At the end, so that a user's `random.py` does not hide an installed module. Spawned processes inherit it.
        sys.path.append(str(file.parent))
    try:
        module = importlib.import_module(file.stem)
    except Exception as error:
        raise errors.InvalidSetting(f"{file}: {type(error).__name__}: {error}") from error
    if Path(module.__file__ or "").resolve() != file:
        raise errors.InvalidSetting(
            f"{file}: a module {file.stem!r} exists already ({module.__file__}); rename the file"
        )
    try:
        return module.PIPELINES
    except AttributeError:
        raise errors.InvalidSetting(f"{file} defines no PIPELINES list") from None


def _as_specs(value: Any, origin: str, error: type[errors.AntennaError]) -> list[PipelineSpec]:
    specs = [value] if isinstance(value, PipelineSpec) else value
    if not isinstance(specs, (list, tuple)) or not all(isinstance(spec, PipelineSpec) for spec in specs):
        raise error(f"{origin}: expected a PipelineSpec or a list of them")
    for spec in specs:
        try:
            ids.slug(spec.slug, "pipeline slug")
        except errors.InvalidInput as wrong:
            raise error(f"{origin}: {wrong}") from None
    return list(specs)
