"""Packs all that an own pipeline consists of, for another machine, and checks what arrives there.

A pack is a manifest and files, each by its SHA-256. The manifest holds the document of which the pipeline's digest is
taken (`identity.document_of`), so that a machine which knows the digest can check every byte before any of it runs: the
document must have the digest, the code must be the document's, file by file, and no other code may be among the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.pipelines import identity, requirements
from antenna_orchestration.pipelines.declared.description import SUFFIXES
from antenna_orchestration.pipelines.interface import PipelineSpec

MOST_BYTES: Final = 16 * 2**20
"""Bytes of a manifest: several times what one of `identity.MOST_FILES` files takes."""

MOST_BYTES_OF_FILES: Final = 16 * 2**30
"""Bytes of all files of a pack, so that none fills the disk of a worker. Weights of several gigabytes fit."""

COMPILED: Final = frozenset({".pyc", ".pyo", ".so", ".pyd", ".dll", ".dylib"})
"""Endings of compiled code, which is never packed: nothing tells what it does, and other machines cannot run it."""

CODE: Final = frozenset({".py", ".pyw"}) | COMPILED
"""Endings of files that Python may run, in any case."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a pack."""

    path: str
    """Below the pack's root, with `/`."""
    sha256: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    """Bytes."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pack holds."""

    v: Literal[1] = 1
    digest: str
    slug: str
    version: str
    name: str
    kind: Literal["file", "package"]
    entry: str
    """The description's file below the root; of a package, its entry point as `name = module:attribute`."""
    code: str
    """The folder below the root that the document's code is in, with `/`; `.` for the root."""
    document: dict[str, Any]
    files: list[PackedFile]
    pushed_by: str = ""
    pushed_at: str = ""
    """In UTC, ISO 8601."""

    @property
    def requirements(self) -> Sequence[str]:
        """What the code needs beside this project, as pip names it."""
        return [str(one) for one in self.document.get("requirements", ())]


class Pack(msgspec.Struct, frozen=True):
    """A manifest, and where its files are on this machine, by their paths in the pack."""

    manifest: Manifest
    sources: dict[str, Path]


def pack(spec: PipelineSpec, *, pushed_by: str = "", pushed_at: str = "") -> Pack:
    """Pack a pipeline of a file or a package: its code, its description, and every local file that it names.

    Raises `InvalidInput` for a built-in pipeline, for files that are not here, and for files that only an absolute path
    leads to.
    """
    if spec.origin.is_built_in:
        raise errors.InvalidInput(f"pipeline {spec.slug} is built in: every worker has it")
    document = identity.document_of(spec)
    if document is None:
        missing = ", ".join(identity.missing_files(spec))
        raise errors.InvalidInput(f"pipeline {spec.slug} names files that are not on this machine: {missing}")
    code = [Path(file) for file in spec.origin.files]
    if compiled := [file for file in code if _ends_as(file.name, COMPILED)]:
        raise errors.InvalidInput(
            f"{compiled[0]} is compiled code, which other machines may not be able to run: install it there, and name "
            "it among the pipeline's requirements"
        )
    is_file = spec.origin.kind == "file"
    described = [Path(spec.origin.name)] if is_file else []
    named = identity.local_files_of(spec)
    parents = [path.parent for path in (*code, *described, *named)]
    root = Path(os.path.commonpath(parents)) if is_file else _import_folder(spec)
    if far := [path for path in named if not path.is_relative_to(root)]:
        raise errors.InvalidInput(f"{far[0]} is outside of the package {root}: put it beside the code")
    if is_file and root in (Path("/"), Path.home()):
        raise errors.InvalidInput(
            f"pipeline {spec.slug} names files in places far from each other ({', '.join(map(str, named))}): put them "
            f"beside {spec.origin.name}, and name them relative to it"
        )
    files = files_of(spec)
    if len(files) > identity.MOST_FILES:
        raise errors.InvalidInput(
            f"pipeline {spec.slug} has {len(files):,} files; the limit is {identity.MOST_FILES:,}"
        )
    sources = {path.relative_to(root).as_posix(): path for path in sorted(files)}
    folder = identity.code_folder(spec.origin.files).relative_to(root).as_posix() if code else "."
    manifest = Manifest(
        digest=identity.digest_of_document(document),
        slug=spec.slug,
        version=spec.version,
        name=spec.name,
        kind="file" if is_file else "package",
        entry=described[0].relative_to(root).as_posix() if is_file else spec.origin.name,
        code=folder,
        document=document,
        files=[PackedFile(name, identity.sha256_of(path), path.stat().st_size) for name, path in sources.items()],
        pushed_by=pushed_by,
        pushed_at=pushed_at,
    )
    check(manifest, manifest.digest)
    return Pack(manifest, sources)


def _import_folder(spec: PipelineSpec) -> Path:
    """Where Python finds the module or package that a package's entry point names."""
    folder = identity.code_folder(spec.origin.files)
    top = spec.origin.name.partition(" = ")[2].partition(":")[0].partition(".")[0].strip()
    return next((one.parent for one in (folder, *folder.parents) if one.name == top), folder)


def unpinned(manifest: Manifest) -> list[str]:
    """A warning about requirements whose version is not fixed, so that their digest does not say what will run."""
    loose = requirements.unpinned(manifest.requirements)
    if not loose:
        return []
    return [f"{', '.join(loose)}: name exact versions (==), or another machine may install others than you tried"]


def files_of(spec: PipelineSpec) -> set[Path]:
    """All files of an own pipeline: its code, its description, and every local file that it names."""
    described = [spec.origin.name] if spec.origin.kind == "file" else []
    named = [*map(Path, (*spec.origin.files, *described)), *identity.local_files_of(spec)]
    return {file for one in named for file in (identity.files_in(one) if one.is_dir() else [one])}


def check_digest(digest: str) -> None:
    """Raise `InvalidInput` unless it is 64 hex digits: a path is made of it, and who queues a job chooses it."""
    if not _SHA256.fullmatch(digest):
        raise errors.InvalidInput(f"{digest[:80]!r} is not a digest of a pipeline")


def read_manifest(content: bytes, digest: str) -> Manifest:
    """Read a manifest from a store, and check it against the digest that it is kept under. Raises `InvalidInput`."""
    if len(content) > MOST_BYTES:
        raise errors.InvalidInput(f"the manifest of pipeline {digest[:12]} is longer than {MOST_BYTES >> 20} MiB")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"the manifest of pipeline {digest[:12]} cannot be read: {error}") from None
    check(manifest, digest)
    return manifest


def check(manifest: Manifest, digest: str) -> None:
    """Raise `InvalidInput` unless the manifest is the one of this digest and lists no code but the document's.

    That holds for the list; `check_files` does the same for what lies on this machine.
    """
    check_digest(digest)
    whose = f"the pack of pipeline {manifest.slug[:200]} ({digest[:12]})"
    if manifest.digest != digest or identity.digest_of_document(manifest.document) != digest:
        raise errors.InvalidInput(f"{whose} has another digest: it was changed after it was pushed")
    ids.slug(manifest.slug, "pipeline slug")
    if len(manifest.files) > identity.MOST_FILES:
        raise errors.InvalidInput(f"{whose} has {len(manifest.files):,} files; the limit is {identity.MOST_FILES:,}")
    _check_paths(manifest, whose)
    if bad := [one.path for one in manifest.files if not _SHA256.fullmatch(one.sha256)]:
        raise errors.InvalidInput(f"{whose} names no SHA-256 of {bad[0][:200]!r}")
    if sum(one.size for one in manifest.files) > MOST_BYTES_OF_FILES:
        raise errors.InvalidInput(f"{whose} has more than {MOST_BYTES_OF_FILES >> 30} GiB of files, which is the limit")
    told = {str(PurePosixPath(manifest.code, name)): sha256 for name, sha256 in _code_of(manifest.document, whose)}
    listed = {str(PurePosixPath(one.path)): one.sha256 for one in manifest.files}
    # A package's code is all that it ships, so that what the digest tells is more than what Python may run.
    runs = {name: sha256 for name, sha256 in listed.items() if _ends_as(name, CODE)}
    if other := sorted((runs.items() - told.items()) | (told.items() - listed.items())):
        raise errors.InvalidInput(f"{whose}: its code is not what its digest says, see {other[0][0][:200]}")
    if compiled := [name for name in runs if _ends_as(name, COMPILED)]:
        raise errors.InvalidInput(f"{whose} has compiled code: {compiled[0][:200]}")
    if not _begins_with(manifest, told, listed):
        raise errors.InvalidInput(f"{whose} begins with what is not of it: {manifest.entry[:200]!r}")
    needed = manifest.document.get("requirements", [])
    if not isinstance(needed, list) or not all(isinstance(one, str) for one in needed):
        raise errors.InvalidInput(f"{whose}: its requirements are not a list of texts")
    try:
        requirements.check(needed)
    except errors.InvalidInput as error:
        raise errors.InvalidInput(f"{whose}: {error}") from None


def _check_paths(manifest: Manifest, whose: str) -> None:
    for name in (manifest.code, *(one.path for one in manifest.files)):
        parts = PurePosixPath(name).parts
        if not name or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts:
            raise errors.InvalidInput(f"{whose} has a file outside of itself: {name[:200]!r}")
    paths = [PurePosixPath(one.path) for one in manifest.files]
    if len(set(paths)) != len(paths):
        raise errors.InvalidInput(f"{whose} lists a file twice")
    if both := sorted({folder for path in paths for folder in path.parents} & set(paths)):
        raise errors.InvalidInput(f"{whose} has a file that is a folder, too: {str(both[0])[:200]!r}")


def _ends_as(name: str, endings: frozenset[str]) -> bool:
    # Some file systems know neither upper case nor dots and blanks at the end.
    return PurePosixPath(name.casefold().rstrip(". ")).suffix in endings


def _begins_with(manifest: Manifest, told: Mapping[str, str], listed: Mapping[str, str]) -> bool:
    """Whether what is imported or read first is among the pack's code, or a description without code.

    The digest does not tell it, so whoever can write the store could name anything that lies on the worker's machine.
    """
    if manifest.kind == "file":
        return manifest.entry in (listed if manifest.entry.endswith(SUFFIXES) else told)
    name, separator, value = manifest.entry.partition(" = ")
    if not separator or EntryPoint.pattern.fullmatch(value) is None:
        return False
    module = EntryPoint(name, value, "").module.replace(".", "/")
    return f"{module}.py" in told or f"{module}/__init__.py" in told


def _code_of(document: Mapping[str, Any], whose: str) -> list[tuple[str, str]]:
    try:
        return [(str(name), str(sha256)) for name, sha256 in document["code"]]
    except (KeyError, TypeError, ValueError):
        raise errors.InvalidInput(f"{whose}: its document lists no code") from None


def check_files(manifest: Manifest, root: Path) -> None:
    """Raise `InvalidInput` unless exactly the manifest's files lie below `root`, each with its SHA-256."""
    # Links to folders are not folders: nobody who looks for files finds what is behind them, and imports do.
    below = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    here = {path.relative_to(root).as_posix(): path for path in below}
    for one in manifest.files:
        path = here.pop(one.path, None)
        if path is None or path.is_symlink() or identity.sha256_of(path) != one.sha256:
            raise errors.InvalidInput(f"{root / one.path}: the file is damaged; delete {root} to fetch it again")
    if others := sorted(name for name in here if "__pycache__" not in name.split("/")):
        raise errors.InvalidInput(
            f"{root / others[0]} is not of pipeline {manifest.slug}; delete {root} to fetch it again"
        )
