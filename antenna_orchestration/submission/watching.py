"""Looks at folders, buckets and lists that are watched: what they hold, which folders changed, what a file is.

Everything here blocks for as long as a disk or store needs. So what may take long is an iterator, which does one small
thing at a time, and yields None where that found nothing: `processing/source_threads.py` advances it on threads, and
lets it rest when others have their turn. What is an image, and which names are left out, is as in `sources.gather`.
Nothing is remembered here.
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH116, PTH118
from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from antenna_orchestration import errors
from antenna_orchestration.catalog.sources import (
    FoundFile,
    FoundFolder,
    GoneFolder,
    KnownFolder,
    ListedFolder,
    ListedPage,
    ReadResult,
    ToRead,
)
from antenna_orchestration.domain import versions, watching
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Validators
from antenna_orchestration.domain.watching import BucketPosition, ReadFile
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets, capture_times, kinds, patterns, web_lists
from antenna_orchestration.submission.locations import MAX_URI, Locator, Unusable, folder_uri, local_path

GONE: Final = "it is not there any more"
"""Why a file is left out that vanished before anything was done with it."""

UNREADABLE: Final = -1
"""The time of change of a folder that may not be read."""

SWEPT: Final = 2
"""Pages of a bucket's older names that each look lists again, round and round: names may come in any order."""

_READ_AT_ONCE: Final = 2**20
"""Bytes of a file."""

Found: TypeAlias = FoundFile | FoundFolder | ListedFolder | GoneFolder | BucketPosition | ListedPage


class GoneFile(NamedTuple):
    """A file that is gone for good."""

    uri: str


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

    Capitals are as good as small letters: cameras write `IMG_0001.JPG`, and people `*.jpg`. Raises `InvalidSource` for
    a pattern of too many parts.
    """
    if not pattern:
        return lambda path: True
    pattern = pattern.lower()
    if "/" not in pattern:
        return lambda path: fnmatch.fnmatchcase(path.rpartition("/")[2].lower(), pattern)
    parsed = patterns.Pattern(pattern)
    return lambda path: patterns.matches(parsed, path.lower().split("/"))


def look_at_folders(
    source: str, known: Sequence[KnownFolder], again: Collection[str], pattern: str, settings: Settings
) -> Iterator[Found | None]:
    """What the folders of a source hold that changed, those that are new, and those whose `real_uri` is in `again`.

    The time of change of each known folder is asked for: that is all that folders cost in which nothing happened.
    Raises as `root` and `taker`.
    """
    takes, within = taker(pattern), locator(settings)
    top = root(source, settings)
    seen = {folder.real_uri for folder in known}
    gone: list[GoneFolder] = []

    def listed(wanted: FoundFolder) -> Iterator[Found | None]:
        """A folder, and those below it that are new."""
        waiting = [wanted]
        while waiting:
            for found in _list_folder(waiting.pop(), source, takes, within):
                if isinstance(found, GoneFolder):
                    gone.append(found)
                elif not isinstance(found, FoundFolder):
                    yield found
                elif found.real_uri not in seen:
                    seen.add(found.real_uri)
                    waiting.append(found)
                    yield found

    if top.real_uri not in seen:
        seen.add(top.real_uri)
        yield top
        yield from listed(top)
    for folder in known:
        yield None
        at = _time_of_change(folder)
        if at is None:
            gone.append(GoneFolder(folder.real_uri))
        elif at == UNREADABLE or at != folder.changed_ns or not folder.is_quiet or folder.real_uri in again:
            yield from listed(FoundFolder(folder.uri, folder.real_uri))
    # If the disk is gone, so are its folders, and that is to be said.
    root(source, settings)
    yield from gone


def _time_of_change(folder: KnownFolder) -> int | None:
    """In nanoseconds; None if it is gone."""
    try:
        status = os.stat(local_path(folder.uri))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return UNREADABLE
    return status.st_mtime_ns if stat.S_ISDIR(status.st_mode) else None


def _list_folder(
    folder: FoundFolder, source: str, takes: Callable[[str], bool], within: Locator
) -> Iterator[FoundFile | FoundFolder | ListedFolder | GoneFolder | None]:
    """What a folder of the source `source` holds; at the end, that it was listed or is gone."""
    path, real_path = local_path(folder.uri), local_path(folder.real_uri)
    start = len(local_path(source)) + 1
    try:
        within.check_bounds(path, path)
        changed_ns = os.stat(path).st_mtime_ns
        with os.scandir(path) as entries:
            for entry in entries:
                if kinds.left_out(entry.name):
                    yield None
                elif _is_folder(entry):
                    real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real_path, entry.name)
                    found = FoundFolder(folder_uri(entry.path), folder_uri(real))
                    # No photograph below a longer one can be named.
                    yield found if max(map(len, found)) < MAX_URI else None
                elif kinds.is_image(entry.name) and takes(entry.path[start:]):
                    yield _file(entry.path, within)
                else:
                    yield None
    except (FileNotFoundError, NotADirectoryError):
        yield GoneFolder(folder.real_uri)
    except errors.InvalidSource as error:
        yield ListedFolder(folder.real_uri, UNREADABLE, str(error))
    except OSError as error:
        yield ListedFolder(folder.real_uri, UNREADABLE, f"folder {path} cannot be listed: {error.strerror}")
    else:
        yield ListedFolder(folder.real_uri, changed_ns)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one. A link that leads nowhere, or to itself, holds up no other entry."""
    try:
        return entry.is_dir()
    except OSError:
        if entry.is_symlink():
            return False
        raise


def look_at_bucket(
    source: str, position: BucketPosition, pattern: str, settings: Settings
) -> Iterator[FoundFile | BucketPosition]:
    """What is new in a bucket, and a part of what is old; after each page, how far it was listed.

    Raises as `list_bucket` and `taker`.
    """
    takes = taker(pattern)
    while True:
        after = position.quiet_upto if position.listed_upto is None else position.listed_upto
        page = list_bucket(source, after, takes, settings)
        position = replace(
            position,
            quiet_upto=watching.quiet_upto(position, page.names, datetime.now(UTC)),
            listed_upto=page.names[-1][0] if page.has_more else None,
        )
        yield from page.files
        yield position
        if not page.has_more:
            break
    for _ in range(SWEPT if position.quiet_upto else 0):
        page = list_bucket(source, position.swept_upto, takes, settings)
        last = page.names[-1][0] if page.names else ""
        # In the store's order, that of bytes. What follows is listed by each look.
        goes_on = page.has_more and last.encode() < position.quiet_upto.encode()
        position = replace(position, swept_upto=last if goes_on else "")
        yield from page.files
        yield position
        if not goes_on:
            break


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


def look_at_list(
    source: str, known: Validators, pattern: str, settings: Settings
) -> Iterator[FoundFile | ListedPage | None]:
    """The photographs that a list on the web names, unless it is as it was when the server said `known`.

    At the end, what to ask with next time. Raises as `web_lists.fetch` and `taker`.
    """
    takes, within = taker(pattern), locator(settings)
    fetched = web_lists.fetch(source, known, settings)
    if fetched is None:
        yield ListedPage(known)
        return
    entries, validators = fetched
    seen: set[str] = set()
    refused, first = 0, ""
    has_photographs = False
    for number, location in entries:
        try:
            uri = web_lists.photograph(source, location, within)
        except errors.InvalidSource as error:
            first = first or f"{source}, line {number}: {error}"
            refused += 1
            yield None
            continue
        has_photographs |= uri is not None
        if uri and uri not in seen and takes(web_lists.path_of(uri)):
            seen.add(uri)
            yield FoundFile(uri, versions.UNKNOWN, 0)
        else:
            yield None
    if refused > 1:
        first += f" (and {counted(refused - 1, 'more line')} like it)"
    if entries and not has_photographs:
        first = first or f"{source}: none of its {counted(len(entries), 'line')} names a photograph"
    # What is wrong is said until it is mended: the same list is looked at again then.
    yield ListedPage(Validators() if first else validators, first)


def read(file: ToRead) -> Iterator[ReadResult | GoneFile | None]:
    """What a file at rest is: the digest of its bytes, and when it was taken. A part of it is read at a time.

    Of an object in a bucket the store's version says the same, without reading it.
    """
    if not file.uri.startswith("file:"):
        # Where there is no version, as in lists, a photograph is known by its name only.
        content = hashlib.sha256((file.version or file.uri).encode()).digest()
        size = int(file.version.rpartition("-")[2] or 0)
        yield _result(file, file.version, size, content=content)
        return
    digest: bytes | None = None
    try:
        status = os.stat(local_path(file.uri))
        # Opening a named pipe would block for ever.
        why = "" if stat.S_ISREG(status.st_mode) else "it is not a regular file"
        why = why or ("" if status.st_size else "it is empty")
        if not why and _version(status) == file.version:
            with Path(local_path(file.uri)).open("rb") as opened:
                hashed = hashlib.sha256()
                while part := opened.read(_READ_AT_ONCE):
                    hashed.update(part)
                    yield None
                digest = hashed.digest()
                status = os.fstat(opened.fileno())
    except (FileNotFoundError, NotADirectoryError):
        yield GoneFile(file.uri) if file.was_left_out else _unusable(file, GONE)
    except OSError as error:
        yield _unusable(file, f"it cannot be read: {error.strerror}")
    else:
        yield _result(file, _version(status), status.st_size, content=digest, why=why)


def look_again(files: Iterable[ReadFile]) -> Iterator[tuple[ReadFile, ReadResult | None]]:
    """Files that were read a while ago, each with what is to be noted of it: None if it is as it was.

    Objects in buckets and photographs of lists are not asked for: each would cost a request.
    """
    for file in files:
        yield file, _changed(file)


def _changed(file: ReadFile) -> ReadResult | None:
    if not file.uri.startswith("file:"):
        return None
    try:
        status = os.stat(local_path(file.uri))
    except (FileNotFoundError, NotADirectoryError):
        return _unusable(file, GONE)
    except OSError as error:
        return _unusable(file, f"it cannot be read: {error.strerror}")
    if (version := _version(status)) == file.version:
        return None
    return ReadResult(uri=file.uri, listed=file.version, version=version, size=status.st_size)


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
