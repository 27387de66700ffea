"""Where descriptions of own pipelines are found, and how one is imported into this process.

Importing runs other people's code. Only processes that exist for it do that: the one that reads descriptions, device
processes, and those of people who try or test a pipeline.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import reprlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.messages import MAX_LABEL
from antenna_orchestration.pipelines import identity
from antenna_orchestration.pipelines.declared import description
from antenna_orchestration.pipelines.interface import AlgorithmSpec, Origin, PipelineSpec

SUFFIXES: Final = (".py", *description.SUFFIXES)
"""Endings of files that define pipelines."""

ENTRY_POINTS: Final = "antenna.pipelines"
"""Entry-point group of packages; each entry point is a `PipelineSpec` or a list of them."""


MOST_AT_ONCE: Final = 10_000
"""Photographs that a pipeline may ask to have in one call; a worker holds all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file or an entry point that may define pipelines."""

    kind: Literal["file", "package"]
    # The file's absolute path, or the entry point as `name = module:attribute`.
    name: str
    # As in `Origin`.
    import_path: tuple[str, ...] = ()
    pulled: str = ""

    @classmethod
    def of(cls, origin: Origin) -> Source:
        """Where a description of somebody's own was found. Raises `InternalError` for a built-in one."""
        if origin.kind == "built-in":
            raise errors.InternalError("built-in pipelines have no source")
        return cls(kind=origin.kind, name=origin.name, import_path=origin.import_path, pulled=origin.pulled)

    @property
    def is_declared(self) -> bool:
        """Whether it is a YAML file: reading it runs nobody's code."""
        return self.kind == "file" and self.name.endswith(description.SUFFIXES)

    @property
    def folder(self) -> str:
        """Sources of one folder may share modules; empty for a package."""
        return str(Path(self.name).parent) if self.kind == "file" else ""

    def __str__(self) -> str:
        return str(Origin(kind=self.kind, name=self.name))


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A source of which no description could be read. It is left out; all others work."""

    # As `Origin` writes itself: the file's path, or the entry point.
    origin: str
    # In one line, what is wrong.
    reason: str
    # Where in the file, from 1; None where that is not known.
    line: int | None = None
    # The error as Python tells it, for people who mend the file; empty where there is none.
    trace: str = ""

    def __str__(self) -> str:
        return f"{self.origin}{f', line {self.line}' if self.line else ''}: {self.reason}"


def find(paths: Iterable[Path]) -> Iterator[Source | Broken]:
    """The sources in the order in which they are read: entry points, then the paths."""
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        yield Source(kind="package", name=f"{entry.name} = {entry.value}")
    for path in paths:
        yield from _at(path)


def _at(path: Path) -> Iterator[Source | Broken]:
    """The file itself, or the files of a folder. Files named `_*` there are helpers."""
    path = path.resolve()
    try:
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and not one.name.startswith("_"))
            yield from (Source(kind="file", name=str(file)) for file in files)
            return
    except OSError as error:
        yield Broken(origin=str(path), reason=f"ANTENNA_PIPELINE_PATHS: {error.strerror or error}")
        return
    if path.is_file():
        yield Source(kind="file", name=str(path))
    else:
        yield Broken(origin=str(path), reason="ANTENNA_PIPELINE_PATHS names it, and there is no such file or folder")


def import_specs(source: Source) -> list[PipelineSpec]:
    """The specs of a source, imported into this process, each with its origin.

    Raises `InvalidSetting` for what is not a list of specs, and whatever the code itself raises, `SystemExit` included.
    """
    value: Any
    if source.is_declared:
        value = description.from_yaml(Path(source.name))
    elif source.kind == "file":
        value = _import_file(Path(source.name))
    else:
        value = _entry_point(source).load()
    specs = [value] if isinstance(value, PipelineSpec) else value
    if not isinstance(specs, (list, tuple)) or not all(isinstance(spec, PipelineSpec) for spec in specs):
        raise errors.InvalidSetting("expected a PipelineSpec or a list of them")
    for spec in specs:
        _check(spec)
        if not source.is_declared:
            _check_factory(spec)
    code = code_of(source)
    return [
        replace(
            spec,
            origin=Origin(
                kind=source.kind,
                name=source.name,
                version_line=_version_line(source, spec),
                files=tuple(map(str, code.files)),
                packages=tuple(map(str, code.packages)),
                import_path=source.import_path,
                pulled=source.pulled,
            ),
        )
        for spec in specs
    ]


def _entry_point(source: Source) -> importlib.metadata.EntryPoint:
    name, value = source.name.split(" = ", 1)
    return importlib.metadata.EntryPoint(name, value, ENTRY_POINTS)


def _check(spec: PipelineSpec) -> None:
    """Raise `InvalidSetting` for what neither the catalog nor a worker can take."""
    try:
        ids.slug(spec.slug, "pipeline slug")
    except errors.InvalidInput as wrong:
        raise errors.InvalidSetting(str(wrong)) from None
    if not isinstance(spec.batch_size, int) or not 1 <= spec.batch_size <= MOST_AT_ONCE:
        raise errors.InvalidSetting(
            f"pipeline {spec.slug}: batch_size is 1 to {MOST_AT_ONCE:,}, not {reprlib.repr(spec.batch_size)}"
        )
    texts = [spec.name, spec.version, spec.description]
    for one in spec.algorithms:
        texts += [one.key, one.version, one.name, one.task, one.description, *one.labels]
    longest = max((label for one in spec.algorithms for label in one.labels), key=lambda one: len(str(one)), default="")
    if len(str(longest)) > MAX_LABEL:
        raise errors.InvalidSetting(
            f"pipeline {spec.slug}: label {reprlib.repr(longest)} has {len(longest):,} characters; "
            f"the limit is {MAX_LABEL}"
        )
    if bad := next((text for text in texts if "\0" in str(text)), None):
        raise errors.InvalidSetting(
            f"pipeline {spec.slug}: {reprlib.repr(bad)} has a character NUL, which nothing stores"
        )


def _check_factory(spec: PipelineSpec) -> None:
    """Raise `InvalidSetting` if the class that does the work is not there. A module that is slow to import is not."""
    module, _, name = spec.factory.partition(":")
    known = sys.modules.get(module)
    try:
        is_there = hasattr(known, name) if known is not None else importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        is_there = False
    if not is_there or not name:
        raise errors.InvalidSetting(f"pipeline {spec.slug} names the factory {spec.factory!r}, and there is none")


def _import_file(file: Path) -> Any:
    """Import a file and return its `PIPELINES`. Its folder goes on `sys.path`, for `factory` and for helper modules."""
    if str(file.parent) not in sys.path:
        # At the end, so that a user's `random.py` does not hide an installed module. Spawned processes inherit it.
        sys.path.append(str(file.parent))
    module = importlib.import_module(file.stem)
    if Path(module.__file__ or "").resolve() != file:
        raise errors.InvalidSetting(f"a module {file.stem!r} exists already ({module.__file__}); rename the file")
    try:
        return module.PIPELINES
    except AttributeError:
        raise errors.InvalidSetting("it defines no PIPELINES list") from None


class Code(NamedTuple):
    """What the code of a source consists of; nothing for a YAML file, whose code is ours."""

    # All files, sorted: what a change of its answers may come from.
    files: list[Path]
    # Folders of which every file is among them, also one that is added.
    packages: list[Path]


def code_of(source: Source) -> Code:
    """Of a package all that it ships, such as files of labels, and compiled modules.

    Of a file also the modules and packages beside it that it imports, anywhere in it. Raises `InvalidSetting` for a
    package of more than `identity.MOST_FILES` files.
    """
    if source.is_declared:
        return Code([], [])
    if source.kind == "file":
        return _with_imports(Path(source.name))
    module = _entry_point(source).module
    found = importlib.util.find_spec(module.partition(".")[0])
    if found is None:
        return Code([], [])
    if found.submodule_search_locations:
        packages = sorted(map(Path, found.submodule_search_locations))
        if found.origin is None:
            # Without an `__init__` other distributions have folders of the same name, on other places of the path.
            entry = importlib.util.find_spec(module)
            place = Path(entry.origin) if entry is not None and entry.origin else Path()
            packages = [one for one in packages if place.is_relative_to(one)]
        return Code(sorted(file for one in packages for file in _shipped(one)), packages)
    return Code([Path(found.origin)] if found.origin else [], [])


def _shipped(package: Path) -> list[Path]:
    """All files in a package's folder. Raises `InvalidSetting` if they are too many."""
    files = list(itertools.islice(identity.walk(package), identity.MOST_FILES + 1))
    if len(files) > identity.MOST_FILES:
        raise errors.InvalidSetting(
            f"the package {package} has more than {identity.MOST_FILES:,} files, which all belong to its code: keep "
            "data elsewhere"
        )
    return files


def _with_imports(file: Path) -> Code:
    files: set[Path] = set()
    packages: set[Path] = set()
    waiting = [file]
    while waiting:
        one = waiting.pop()
        if one in files:
            continue
        files.add(one)
        for name in _imported_names(one):
            package = file.parent / name
            if package in packages:
                continue
            if package.is_dir():
                packages.add(package)
                waiting += _shipped(package)
            else:
                modules = (file.parent / f"{name}{suffix}" for suffix in importlib.machinery.all_suffixes())
                waiting += [module for module in modules if module.is_file()]
    return Code(sorted(files), sorted(packages))


def _imported_names(file: Path) -> set[str]:
    """The top-level names of the modules that a file imports; none for a file that is not Python."""
    if file.suffix not in (".py", ".pyw"):
        return set()
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            # Only a name that is written out can be known.
            written = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            names.update(one.partition(".")[0] for one in written if isinstance(one, str))
    # A relative name begins with nothing, and a path is not a name.
    return {name for name in names if name.isidentifier()}


def _version_line(source: Source, spec: PipelineSpec) -> int | None:
    """The line on which a pipeline's version is written, from 1; None where it is not written out."""
    if source.kind != "file":
        return None
    text = Path(source.name).read_text(encoding="utf-8", errors="replace")
    if source.is_declared:
        lines = text.splitlines()
        return next((number for number, line in enumerate(lines, 1) if line.startswith("version:")), None)
    written = [
        (node.lineno, {word.arg: word.value for word in node.keywords})
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
    ]
    named = [words for _, words in written if "version" in words and _is(words.get("slug"), spec.slug)]
    others = [words for _, words in written if "version" in words and _is(words["version"], spec.version)]
    return next((words["version"].lineno for words in (*named, *others)), None)


def line_of_algorithm(spec: PipelineSpec, algorithm: AlgorithmSpec) -> int | None:
    """The line of a pipeline's own Python file on which an algorithm's version is written, from 1; None elsewhere.

    Blocks.
    """
    if spec.origin.kind != "file" or not spec.origin.files:
        return None
    try:
        tree = ast.parse(Path(spec.origin.name).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    calls = [{word.arg: word.value for word in node.keywords} for node in ast.walk(tree) if isinstance(node, ast.Call)]
    written = [words["version"] for words in calls if "version" in words and _is(words.get("key"), algorithm.key)]
    return written[0].lineno if written else None


def _is(node: ast.expr | None, value: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == value
