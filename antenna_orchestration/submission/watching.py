"""Looks at folders and buckets that are watched: what they hold, which folders changed, what a file is.

Everything here blocks for as long as a disk or store needs; `processing/new_captures.py` calls it on threads. What is
an image, and which names are left out, is as in `sources.gather`. Nothing is remembered here.
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH116, PTH118
from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.catalog.sources import FoundFile, FoundFolder, KnownFolder, ReadResult, ToRead
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.watching import ReadFile
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets, capture_times, kinds, patterns
from antenna_orchestration.submission.locations import MAX_URI, Locator, Unusable, folder_uri, local_path

GONE: Final = "it is not there any more"
"""Why a file is left out that vanished before anything was done with it."""


UNREADABLE: Final = -1
"""The time of change of a folder that may not be read."""


class Listing(NamedTuple):
    """What a folder holds."""

    # Its time of change, read before it was listed.
    changed_ns: int
    files: list[FoundFile]
    folders: list[FoundFolder]
    # Why it cannot be read; empty if it can.
    why: str = ""


class Page(NamedTuple):
    """A page of a bucket's listing."""

    files: list[FoundFile]
    # All names of the page, in their order, with their times of change.
    names: list[tuple[str, datetime | None]]
    has_more: bool


def locator(settings: Settings) -> Locator:
    """What checks that files lie within the setting IMAGE_ROOTS. Used by one thread at a time."""
    return Locator(roots=settings.image_roots or None, allow_private_hosts=settings.allow_private_hosts)


def root(uri: str, settings: Settings) -> FoundFolder:
    """The folder of a source. Raises `InvalidSource` if it is none, is not allowed or cannot be read."""
    path = local_path(uri)
    locator(settings).check_bounds(path, path)
    try:
        with os.scandir(path):
            return FoundFolder(uri, folder_uri(os.path.realpath(path)))
    except OSError as error:
        raise errors.InvalidSource(f"folder {path} cannot be listed: {error.strerror}") from None


def taker(pattern: str) -> Callable[[str], bool]:
    """What says whether a path below a source is taken. A pattern without a slash is one of file names.

    Raises `InvalidSource` for a pattern of too many parts.
    """
    if not pattern:
        return lambda path: True
    if "/" not in pattern:
        return lambda path: fnmatch.fnmatchcase(path.rpartition("/")[2], pattern)
    parsed = patterns.Pattern(pattern)
    return lambda path: patterns.matches(parsed, path.split("/"))


def times_of_change(
    source: str, known: Iterable[KnownFolder], settings: Settings
) -> tuple[FoundFolder, Mapping[str, int]]:
    """The folder of a source, and the present times of change of its folders, in nanoseconds, by `real_uri`.

    Those that are gone are left out. This is all that folders cost in which nothing happened. Raises as `root`.
    """
    found = {}
    for folder in known:
        try:
            status = os.stat(local_path(folder.uri))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            found[folder.real_uri] = UNREADABLE
            continue
        if stat.S_ISDIR(status.st_mode):
            found[folder.real_uri] = status.st_mtime_ns
    # At the end: if the disk is gone, so are its folders, and that is to be said.
    return root(source, settings), found


def list_folder(folder: KnownFolder, source: str, takes: Callable[[str], bool], within: Locator) -> Listing | None:
    """What a folder of the source `source` holds; None if it is gone."""
    path, real_path = local_path(folder.uri), local_path(folder.real_uri)
    start = len(local_path(source)) + 1
    files: list[FoundFile] = []
    folders: list[FoundFolder] = []
    try:
        within.check_bounds(path, path)
        changed_ns = os.stat(path).st_mtime_ns
        with os.scandir(path) as entries:
            for entry in entries:
                if kinds.left_out(entry.name):
                    continue
                if _is_folder(entry):
                    real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real_path, entry.name)
                    found = FoundFolder(folder_uri(entry.path), folder_uri(real))
                    # No photograph below a longer one can be named.
                    if max(map(len, found)) < MAX_URI:
                        folders.append(found)
                elif kinds.is_image(entry.name) and takes(entry.path[start:]) and (file := _file(entry.path, within)):
                    files.append(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except errors.InvalidSource as error:
        return Listing(UNREADABLE, [], [], str(error))
    except OSError as error:
        return Listing(UNREADABLE, [], [], f"folder {path} cannot be listed: {error.strerror}")
    return Listing(changed_ns, files, folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one. A link that leads nowhere, or to itself, holds up no other entry."""
    try:
        return entry.is_dir()
    except OSError:
        if entry.is_symlink():
            return False
        raise


def list_bucket(source: str, after: str, takes: Callable[[str], bool], settings: Settings) -> Page:
    """The next thousand objects of a source in a bucket. Raises as `buckets.list_objects`."""
    within = locator(settings)
    found, has_more = buckets.list_after(source, after, settings)
    files = []
    for uri, version in found:
        below = uri[len(source) + 1 :]
        if kinds.first_left_out(below) or not kinds.is_image(uri) or not takes(below) or not version.size:
            continue
        try:
            within.locate(uri)
        except Unusable:
            continue
        files.append(FoundFile(uri, version.version, version.size))
    return Page(files, [(uri, version.modified_at) for uri, version in found], has_more)


def read(file: ToRead) -> ReadResult | None:
    """What a file at rest is: the digest of its bytes, and when it was taken; None if it is gone for good.

    Of an object in a bucket the store's version says the same, without reading it.
    """
    if file.uri.startswith("s3:"):
        # A store that says no version knows an object by its name only.
        content = hashlib.sha256((file.version or file.uri).encode()).digest()
        size = int(file.version.rpartition("-")[2] or 0)
        return _result(file, file.version, size, content=content)
    digest: bytes | None = None
    try:
        status = os.stat(local_path(file.uri))
        # Opening a named pipe would block for ever.
        why = "" if stat.S_ISREG(status.st_mode) else "it is not a regular file"
        why = why or ("" if status.st_size else "it is empty")
        if not why and _version(status) == file.version:
            with Path(local_path(file.uri)).open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").digest()
                status = os.fstat(opened.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return None if file.was_left_out else _unusable(file, GONE)
    except OSError as error:
        return _unusable(file, f"it cannot be read: {error.strerror}")
    return _result(file, _version(status), status.st_size, content=digest, why=why)


def look_again(files: Iterable[ReadFile]) -> list[ReadResult]:
    """What is to be noted of files that were read a while ago: those that are gone or changed, and nothing of others.

    Objects in buckets are not asked for: each would cost a request.
    """
    found = []
    for file in files:
        if not file.uri.startswith("file:"):
            continue
        try:
            status = os.stat(local_path(file.uri))
        except (FileNotFoundError, NotADirectoryError):
            found.append(_unusable(file, GONE))
        except OSError as error:
            found.append(_unusable(file, f"it cannot be read: {error.strerror}"))
        else:
            if (version := _version(status)) != file.version:
                found.append(ReadResult(uri=file.uri, listed=file.version, version=version, size=status.st_size))
    return found


def _unusable(file: ToRead | ReadFile, why: str) -> ReadResult:
    return ReadResult(uri=file.uri, listed=file.version, version=file.version, size=0, why=why)


def _version(status: os.stat_result) -> str:
    return versions.of_file(size=status.st_size, mtime_ns=status.st_mtime_ns)


def _result(file: ToRead, version: str, size: int, *, content: bytes | None = None, why: str = "") -> ReadResult:
    """What was read. A file that is not as it was listed has nothing but its new version."""
    if version != file.version:
        return ReadResult(uri=file.uri, listed=file.version, version=version, size=size)
    taken = capture_times.of_image(file.uri) if content else None
    return ReadResult(
        uri=file.uri,
        listed=file.version,
        version=version,
        size=size,
        content=content,
        stamp=taken.local if taken else None,
        stamp_offset=taken.offset if taken else None,
        why=why,
    )


def _file(path: str, within: Locator) -> FoundFile | None:
    """A file of a listing; None if nothing can be read of it, whatever happens: a link to nothing, a name too long."""
    try:
        located = within.file(path)
    except Unusable:
        return None
    except errors.InvalidSource:
        # A link that leads out of the setting IMAGE_ROOTS.
        return None
    if not located.exists or located.size is None or located.mtime_ns is None:
        return None
    return FoundFile(located.uri, versions.of_file(size=located.size, mtime_ns=located.mtime_ns), located.size)
