"""What a pipeline is: a digest of all that decides its answers.

Two pipelines of one digest give the same answers, whatever they are called; a pipeline whose code, weights, labels or
requirements change has another digest from then on, whatever its version says. A digest is of

* each algorithm's key, version, task and labels, in order, the factory, and the requirements;
* for Python files and packages of other people: all files of their code, and what packages ship beside it
  (`sources.code_of`); for YAML files and built-in pipelines: the recipe;
* each file that algorithms or the recipe name: by its content if it is on this machine, else by the SHA-256 in its
  address, or else by the address itself.

Not in it: slug, name, version and descriptions; what a job may configure, which each job keeps; and our own code, whose
answers are pinned by our tests.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import urldefrag

import msgspec

from antenna_orchestration.domain import addresses
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

MOST_FILES: Final = 10_000
"""Files of one pipeline, or below a folder that it names; more is a folder that was named by mistake."""

UNKNOWN: Final = ""
"""The digest of a pipeline that names a local file which is not on this machine, so that nothing is known of it."""

_MADE_UP: Final = ("/proc/", "/sys/", "/dev/")


class _Missing(Exception):
    """A file that is named is not on this machine."""


def digest_of(spec: PipelineSpec) -> str:
    """The pipeline's digest, 64 hex digits; `UNKNOWN` if a local file that it names is not on this machine.

    Files are read again only when they changed.
    """
    document = document_of(spec)
    return UNKNOWN if document is None else digest_of_document(document)


def document_of(spec: PipelineSpec) -> dict[str, Any] | None:
    """What the digest is of, as JSON can hold it; None if a local file that it names is not on this machine.

    `code` lists each file of the code by its place below their common folder (`code_folder`), with its SHA-256.
    """
    try:
        return {
            "algorithms": [
                [one.key, one.version, one.task, list(one.labels), _needed(one.uri), _needed(one.labels_uri)]
                for one in spec.algorithms
            ],
            "factory": spec.factory,
            # That of Python code is in the code, and not in its description.
            "recipe": None if spec.origin.files else _told(spec.recipe),
            "requirements": sorted(spec.requirements),
            "code": _code(spec),
        }
    except _Missing:
        return None


def digest_of_document(document: Mapping[str, Any]) -> str:
    """The digest of what `document_of` gives."""
    return _hash(document)


def with_files_of(digest: str, config: Mapping[str, Any]) -> str:
    """The digest of a pipeline run with a configuration: other content of the files that it names is another digest.

    The same for a configuration that names none. `UNKNOWN` if the pipeline's is, or if a file cannot be read.
    """
    try:
        named = {key: _content(value) for key, value in sorted(config.items()) if _is_file(value)}
    except _Missing:
        return UNKNOWN
    return _hash({"pipeline": digest, "files": named}) if digest and named else digest


def missing_files(spec: PipelineSpec) -> list[str]:
    """The local files of a pipeline's algorithms that this machine lacks, which leave its digest unknown."""
    return [uri for uri in spec.addresses if _is_missing(uri)]


def unreadable_files(config: Mapping[str, Any]) -> list[str]:
    """The files that a configuration names and this process may not read, which leave `with_files_of` unknown."""
    return [value for value in config.values() if _is_file(value) and not _is_readable(value)]


def changed_since(spec: PipelineSpec, when: datetime) -> list[str]:
    """The local files of a pipeline that were written after a time, as far as their own times tell."""
    named = [*spec.origin.files, *([spec.origin.name] if spec.origin.kind == "file" else [])]
    paths = [Path(one) for one in named] + [path for uri in spec.addresses if (path := _path(urldefrag(uri).url))]
    return [
        str(path)
        for path in dict.fromkeys(paths)
        if (kind := _kind(path)) is not None and stat.S_ISREG(kind) and path.stat().st_mtime > when.timestamp()
    ]


def _told(value: Any) -> Any:
    """A recipe as JSON can hold it, with each file that it names by its content."""
    match value:
        case None | bool() | int() | float():
            return value
        case str() | Path():
            return _content(str(value))
        case Mapping():
            return {str(key): _told(one) for key, one in sorted(value.items(), key=lambda item: str(item[0]))}
        case list() | tuple():
            return [_told(one) for one in value]
        case set() | frozenset():
            return sorted(json.dumps(_told(one), sort_keys=True) for one in value)
    fields = _fields(value)
    # Of a class of somebody's own: its code is in the digest.
    return {"": type(value).__qualname__, **{name: _told(one) for name, one in fields}} if fields else repr(value)


def _fields(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, AlgorithmSpec):
        return [(name, getattr(value, name)) for name in ("key", "version", "task", "labels", "uri", "labels_uri")]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    return []


def _content(name: str | None) -> str | None:
    """What stands for a file in a digest; any other text stands for itself. Raises `_Missing`."""
    if name is None:
        return None
    address, fragment = urldefrag(name)
    if fragment.startswith("sha256="):
        return fragment
    path = _path(address)
    kind = _kind(path)
    if path is None or kind is None:
        return name
    if stat.S_ISREG(kind):
        return f"sha256={_sha256_of(path)}"
    if not stat.S_ISDIR(kind) or _has_many(path):
        return name
    try:
        files = files_in(path)
    except OSError as error:
        raise _Missing(name) from error
    return _hash([[str(file.relative_to(path)), _sha256_of(file)] for file in files])


def _has_many(folder: Path) -> bool:
    """Whether so much lies in a folder that it is not a model's: `/`, or photographs, say."""
    return next(islice(folder.rglob("*"), MOST_FILES, None), None) is not None


def files_in(folder: Path) -> list[Path]:
    """The files in or below a folder, sorted, without what tools leave there: hidden ones, and compiled Python."""
    return sorted(walk(folder, enters_links=False))


def walk(folder: Path, *, enters_links: bool = True) -> Iterator[Path]:
    """The same in any order, found as they are asked for. Of linked folders each is entered once.

    Python imports what lies in them. A link may lead to the whole disk, so take no more than `MOST_FILES`.
    """
    entered: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=enters_links):
        if (real := os.path.realpath(place)) in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        here = (Path(place, name) for name in files if not name.startswith("."))
        yield from (file for file in here if file.is_file())


def _needed(uri: str | None) -> str | None:
    """The same for a file of an algorithm. Raises `_Missing` if it is local, and not here."""
    if uri is not None and _is_missing(uri):
        raise _Missing(uri)
    return _content(uri)


def _is_missing(name: str) -> bool:
    """Whether a name is that of a local file, without a digest, that is not here."""
    address, fragment = urldefrag(name)
    path = _path(address)
    is_needed = path is not None and path.is_absolute() and not fragment.startswith("sha256=")
    return is_needed and _kind(path) is None


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and _kind(_path(value)) is not None


def _is_readable(name: str) -> bool:
    try:
        _content(name)
    except _Missing:
        return False
    return True


def _kind(path: Path | None) -> int | None:
    """The kind of file at an absolute path, as `stat` has it; None if none is there that this process may see.

    Texts that are not paths come here, too: some are too long for a file's name. What the kernel makes up is not
    a file: some of it never ends.
    """
    if path is None or not path.is_absolute():
        return None
    try:
        return None if os.path.realpath(path).startswith(_MADE_UP) else path.stat().st_mode
    except OSError:
        return None


def _path(address: str) -> Path | None:
    if "\0" in address or len(address) > os.pathconf("/", "PC_PATH_MAX"):
        return None
    if address.startswith("file:"):
        return Path(addresses.path_of(address))
    if "://" in address:
        return None
    try:
        return Path(address).expanduser()
    except RuntimeError:
        # `~` before what is not a user's name.
        return None


def _code(spec: PipelineSpec) -> list[list[str]]:
    """Each file of the code by its place below their common folder, with its content."""
    if spec.origin.is_built_in or not spec.origin.files:
        return []
    # Texts, as a package may have thousands of files, and a worker looks every two seconds.
    folder = f"{str(code_folder(spec.origin.files)).rstrip('/')}/"
    return [[file.removeprefix(folder), _sha256_of(file)] for file in sorted(spec.origin.files)]


def code_folder(files: Sequence[str]) -> Path:
    """The folder that all files of a pipeline's code lie in or below."""
    return Path(os.path.commonpath({os.path.dirname(file) for file in files}))  # noqa: PTH120  see `_code`


def local_files_of(spec: PipelineSpec) -> list[Path]:
    """The local files, and folders of files, that a pipeline's algorithms and its recipe name."""
    named = spec.addresses + ([] if spec.origin.files else _strings(spec.recipe))
    paths = [path for name in named if (path := _path(urldefrag(name)[0])) is not None]
    return [path for path in dict.fromkeys(map(_plain, paths)) if _kind(path) is not None]


def _plain(path: Path) -> Path:
    """Without `..`; links stay, since a file is packed where it is named."""
    return Path(os.path.normpath(path))


def _strings(value: Any) -> list[str]:
    """All texts in a recipe."""
    match value:
        case str() | Path():
            return [str(value)]
        case Mapping():
            return [text for one in value.values() for text in _strings(one)]
        case list() | tuple() | set() | frozenset():
            return [text for one in value for text in _strings(one)]
    return [text for _, one in _fields(value) for text in _strings(one)]


def sha256_of(path: Path | str) -> str:
    """The digest of a file's content, read again only when the file changed. Raises `OSError`."""
    seen = os.stat(path)  # noqa: PTH116  see `_code`
    return _sha256(str(path), seen.st_size, seen.st_mtime_ns, seen.st_ino)


def _sha256_of(path: Path | str) -> str:
    """Raises `_Missing` for a file that is not there or cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise _Missing(str(path)) from error


# More than one pipeline's: a cache that is smaller than what is looked up in turn keeps nothing.
@lru_cache(maxsize=2 * MOST_FILES)
def _sha256(path: str, size: int, changed: int, inode: int) -> str:
    """Of a file in the state that size, time of change and inode tell."""
    del size, changed, inode
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
