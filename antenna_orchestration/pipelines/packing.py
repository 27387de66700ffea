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
from typing import Any, Final, Literal

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.pipelines import identity
from antenna_orchestration.pipelines.declared.description import SUFFIXES
from antenna_orchestration.pipelines.interface import PipelineSpec

MOST_FILES: Final = 10_000
"""Files of one pipeline; more is a folder that was named by mistake."""

MOST_BYTES: Final = 16 * 2**20
"""Bytes of a manifest: several times what one of `MOST_FILES` takes."""

CODE: Final = frozenset({".py", ".pyw", ".pyc", ".pyo", ".so", ".pyd"})
"""Endings of files that Python may run, in any case. Compiled ones are never packed: nothing tells what they do."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a pack."""

    path: str
    """Below the pack's root, with `/`."""
    sha256: str
    size: int
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
    is_file = spec.origin.kind == "file"
    described = [Path(spec.origin.name)] if is_file else []
    named = identity.local_files_of(spec)
    parents = [path.parent for path in (*code, *described, *named)]
    root = Path(os.path.commonpath(parents)) if is_file else identity.code_folder(spec.origin.files).parent
    if far := [path for path in named if not path.is_relative_to(root)]:
        raise errors.InvalidInput(f"{far[0]} is outside of the package {root}: put it beside the code")
    if is_file and root in (Path("/"), Path.home()):
        raise errors.InvalidInput(
            f"pipeline {spec.slug} names files in places far from each other ({', '.join(map(str, named))}): put them "
            f"beside {spec.origin.name}, and name them relative to it"
        )
    files = files_of(spec)
    if len(files) > MOST_FILES:
        raise errors.InvalidInput(f"pipeline {spec.slug} has {len(files):,} files; the limit is {MOST_FILES:,}")
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


def unpinned(manifest: Manifest) -> list[str]:
    """A warning about requirements whose version is not fixed, so that their digest does not say what will run."""
    loose = [one for one in manifest.requirements if "==" not in one]
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
        raise errors.InvalidInput(f"{digest[:80]!r} is no digest of a pipeline")


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
    if len(manifest.files) > MOST_FILES:
        raise errors.InvalidInput(f"{whose} has {len(manifest.files):,} files; the limit is {MOST_FILES:,}")
    for name in (manifest.code, *(one.path for one in manifest.files)):
        parts = PurePosixPath(name).parts
        if not name or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts:
            raise errors.InvalidInput(f"{whose} has a file outside of itself: {name[:200]!r}")
    if bad := [one.path for one in manifest.files if not _SHA256.fullmatch(one.sha256)]:
        raise errors.InvalidInput(f"{whose} names no SHA-256 of {bad[0][:200]!r}")
    told = {str(PurePosixPath(manifest.code, name)): sha256 for name, sha256 in _code_of(manifest.document, whose)}
    listed = {str(PurePosixPath(one.path)): one.sha256 for one in manifest.files}
    if len(listed) != len(manifest.files):
        raise errors.InvalidInput(f"{whose} lists a file twice")
    runs = {name: sha256 for name, sha256 in listed.items() if _is_code(name)}
    if runs != told:
        other = sorted(set(runs.items()) ^ set(told.items()))[0][0]
        raise errors.InvalidInput(f"{whose}: its code is not what its digest says, see {other[:200]}")
    if not _begins_with(manifest, told, listed):
        raise errors.InvalidInput(f"{whose} begins with what is not of it: {manifest.entry[:200]!r}")
    needed = manifest.document.get("requirements", [])
    if not isinstance(needed, list) or not all(isinstance(one, str) for one in needed):
        raise errors.InvalidInput(f"{whose}: its requirements are no list of texts")


def _is_code(name: str) -> bool:
    # Some file systems know neither upper case nor dots and blanks at the end.
    return PurePosixPath(name.casefold().rstrip(". ")).suffix in CODE


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
    here = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if not path.is_dir()}
    for one in manifest.files:
        path = here.pop(one.path, None)
        if path is None or path.is_symlink() or identity.sha256_of(path) != one.sha256:
            raise errors.InvalidInput(f"{root / one.path}: the file is damaged; delete {root} to fetch it again")
    if others := sorted(name for name in here if "__pycache__" not in name.split("/")):
        raise errors.InvalidInput(
            f"{root / others[0]} is not of pipeline {manifest.slug}; delete {root} to fetch it again"
        )
