"""Finds the descriptions of all pipelines: built-in ones, those of installed packages, and those in a user's files.

`_BUILT_IN` lists the modules that define the built-in specs. An installed package adds its own through the entry-point
group `antenna.pipelines`. A user without a package puts a .py file with `PIPELINES = [PipelineSpec(...)]`, or the .yaml
of a declared pipeline, on `ANTENNA_PIPELINE_PATHS`.

A file or a package of which no description can be read is listed as broken and left out: it stops no other pipeline.
Files that change, packages that are installed and files that are added are noticed while a process runs.

The registry handles descriptions only, so neither this module nor anything it imports may import torch; and no code of
other people is imported by asking it, see `descriptions.py`.
"""

from __future__ import annotations

import importlib
import itertools
import site
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from antenna_orchestration import errors, settings
from antenna_orchestration.pipelines import descriptions, identity, sources
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.pipelines.sources import Broken, Source

DEFAULT_PIPELINE: Final = "light_trap_insects"
"""Slug of the pipeline for submissions that name none."""

_BUILT_IN: Final = (
    "antenna_orchestration.pipelines.light_trap.specs",
    "antenna_orchestration.pipelines.published.specs",
    "antenna_orchestration.pipelines.null",
)

LOOK_EVERY: Final = 1.0
"""Seconds for which it is not asked again whether a file changed."""

MOST_KEPT: Final = 8
"""Sets of paths of which this process keeps what it read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """What one set of paths gives."""

    # By slug, built-in ones first. Those of own Python code lack their recipes; `imported` has them.
    pipelines: Mapping[str, PipelineSpec]
    broken: Sequence[Broken]


class _State(NamedTuple):
    """What tells whether something changed: where modules are looked for, and all files and folders that count."""

    import_path: tuple[str, ...]
    files: tuple[tuple[Path, tuple[int, int, int]], ...]

    @property
    def newest(self) -> int:
        """When the last of them changed, in nanoseconds since the epoch."""
        return max((changed for _, (changed, _, _) in self.files), default=0)


@dataclass(slots=True)
class _Kept:
    registry: Registry
    # As it was read; None if something changed meanwhile.
    seen: _State | None
    looked_at: float


_kept: dict[tuple[Path, ...], _Kept] = {}
# One reading at a time: a second one would start the same processes.
_reading = threading.Lock()


def read(paths: Iterable[Path] | None = None) -> Registry:
    """All pipelines and what is broken. `paths` overrides the setting `ANTENNA_PIPELINE_PATHS`.

    Read anew when a file of a pipeline's code or a description changed, was added or removed, or a package was
    installed.
    """
    wanted = tuple(settings.get().pipeline_paths if paths is None else paths)
    with _reading:
        kept = _kept.get(wanted)
        if kept is not None and time.monotonic() - kept.looked_at < LOOK_EVERY:
            return kept.registry
        if kept is None or kept.seen != _state(wanted, kept.registry):
            began = time.time_ns()
            registry = _load(wanted)
            seen = _state(wanted, registry)
            if len(_kept) >= MOST_KEPT:
                _kept.clear()
            # What changed while it was read is read again at the next look.
            kept = _kept[wanted] = _Kept(registry, None if seen.newest > began else seen, 0.0)
        kept.looked_at = time.monotonic()
        return kept.registry


def all_pipelines(paths: Iterable[Path] | None = None) -> Mapping[str, PipelineSpec]:
    """All pipelines by slug, built-in ones first, without the broken ones; see `read`."""
    return read(paths).pipelines


def broken(paths: Iterable[Path] | None = None) -> Sequence[Broken]:
    """The files and packages of which no description can be read; see `read`."""
    return read(paths).broken


def is_built_in(slug: str) -> bool:
    """Whether this project ships the pipeline. Reads nothing of other people's."""
    return any(spec.slug == slug for name in _BUILT_IN for spec in importlib.import_module(name).PIPELINES)


def get(slug: str, paths: Iterable[Path] | None = None) -> PipelineSpec:
    """The pipeline with this slug.

    Raises `UnknownPipeline` with a list of the known slugs and of what is broken.
    """
    found = read(paths)
    if slug not in found.pipelines:
        also = "".join(f"; broken: {one}" for one in found.broken)
        raise errors.UnknownPipeline(f"there is no pipeline {slug!r}; there are: {', '.join(found.pipelines)}{also}")
    return found.pipelines[slug]


def imported(slug: str, paths: Iterable[Path] | None = None) -> PipelineSpec:
    """The pipeline's whole description, its recipe included, imported into this process for `interface.build`.

    This runs other people's code here: for device processes, and for people who try a pipeline. A file that this
    process imported before is not read again. Raises what `get` raises and what the code raises.
    """
    spec = get(slug, paths)
    return spec if spec.origin.is_built_in else imported_from(Source.of(spec.origin), slug)


def imported_from(source: Source, slug: str) -> PipelineSpec:
    """The same of a source that is known; raises `UnknownPipeline` if it does not define that pipeline."""
    found = next((one for one in sources.import_specs(source) if one.slug == slug), None)
    if found is None:
        raise errors.UnknownPipeline(f"{source} defines no pipeline {slug!r} any more")
    return found


def _load(paths: tuple[Path, ...]) -> Registry:
    found: dict[str, PipelineSpec] = {}
    for name in _BUILT_IN:
        for spec in importlib.import_module(name).PIPELINES:
            if spec.slug in found:
                raise errors.InternalError(f"two pipelines are called {spec.slug!r}, one of {name}")
            found[spec.slug] = spec
    faults: list[Broken] = []
    asked: list[Source] = []
    for one in sources.find(paths):
        (asked if isinstance(one, Source) else faults).append(one)  # type: ignore[arg-type]
    for source, answer in descriptions.of(asked):
        if answer.broken is not None:
            faults.append(answer.broken)
        for spec in answer.specs:
            if (before := found.get(spec.slug)) is not None:
                whose = "a pipeline of this project" if before.origin.is_built_in else str(before.origin)
                faults.append(Broken(origin=str(source), reason=f"its slug {spec.slug!r} is that of {whose}"))
            else:
                found[spec.slug] = spec
    return Registry(pipelines=MappingProxyType(found), broken=tuple(faults))


def _state(paths: tuple[Path, ...], known: Registry) -> _State:
    files = {Path(file) for spec in known.pipelines.values() for file in spec.origin.files}
    packages = {Path(one) for spec in known.pipelines.values() for one in spec.origin.packages}
    for package in packages:
        files.update(itertools.islice(identity.walk(package), identity.MOST_FILES + 1))
    for path in paths:
        files.update(_within(path))
    for one in known.broken:
        # What it imports from its folder may be what mends it.
        if (origin := Path(one.origin)).is_absolute():
            files.update(_within(origin.parent))
    # Installing or removing a package changes its folder.
    folders = map(Path, (*site.getsitepackages(), site.getusersitepackages()))
    return _State(tuple(sys.path), tuple((path, _stat(path)) for path in (*folders, *sorted(files))))


def _within(path: Path) -> list[Path]:
    """The file itself, or the files of a folder that descriptions may depend on."""
    try:
        return [one for one in path.iterdir() if one.suffix in sources.SUFFIXES] if path.is_dir() else [path]
    except OSError:
        return [path]


def _stat(path: Path) -> tuple[int, int, int]:
    """Time of change, size and inode; zeros for what is not there."""
    try:
        seen = path.stat()
    except OSError:
        return (0, 0, 0)
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino)
