"""Expands the SOURCE arguments of a submission (folders, patterns, files, buckets, URLs, lists) into images.

It reads file names and lists, but never an image, and it writes nothing. It may block on a slow disk or store, so
`submit` calls it on a thread. What is left out of a folder, pattern, bucket or list is kept with its kind: one bad
entry does not stop a submission.
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH100, PTH110, PTH111, PTH112, PTH113, PTH114, PTH116, PTH118, PTH120
from __future__ import annotations

import itertools
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from antenna_orchestration import errors, server_urls
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.capture_time import Taken
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets, capture_times, kinds, locations, patterns, source_lists, spelling
from antenna_orchestration.submission.kinds import Kind
from antenna_orchestration.submission.limits import Deadline
from antenna_orchestration.submission.locations import MAX_URI, Located, Locator, Unusable, local_path, scheme_of
from antenna_orchestration.submission.patterns import MAGIC

_DIGITS = re.compile(r"(\d+)", re.ASCII)

SLOW_LOOK: Final = 0.001
"""Seconds for a look at a file from which on several are looked at together: a share answers in milliseconds."""

_LOOKS: Final = 16
"""Looks at files of a slow share at the same time; they only wait."""

_TOGETHER: Final = 256
"""Files that are looked at before the next are taken from their folders."""

_LOOKED_FOR = f"looked for {kinds.plain(kinds.IMAGE_SUFFIXES)}"


class LeftOut(NamedTuple):
    """A file or folder that was not taken, and why."""

    kind: Kind
    path: str
    # What the kind does not say; may be empty.
    why: str = ""


@dataclass(kw_only=True, slots=True)
class Gathered:
    """The images that the sources name, each once, in the order in which they were named."""

    images: list[SubmittedImage]
    # How many images were named more than once and merged.
    duplicates: int = 0
    # What is said differently of some of these, by URI.
    conflicts: Mapping[str, str] = field(default_factory=dict)
    # What the user should know although it did not stop the submission.
    warnings: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    # What listings of buckets said of the images' versions.
    versions: dict[str, Version] = field(default_factory=dict)


def count_left_out(left_out: Sequence[LeftOut]) -> Mapping[Kind, int]:
    """How many files and folders of each kind were left out."""
    return Counter(one.kind for one in left_out)


def gather(
    sources: Sequence[str],
    images: Sequence[SubmittedImage] = (),
    *,
    settings: Settings,
    allowed_roots: Sequence[Path] | None = None,
    allowed_buckets: Sequence[str] | None = None,
    deployment: str | None = None,
    deadline: Deadline | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Gathered:
    """Collect the images that `sources` and `images` name, each URI once.

    `allowed_roots` are the folders that local images may be in; None stands for the setting `IMAGE_ROOTS`, and for any
    folder if that is not set. `allowed_buckets` are the `s3://bucket/prefix` locations that images may be in; None
    allows everything that this process has credentials for. Images without a deployment get `deployment`. `progress` is
    told how many images were found, after each.

    Raises `InvalidSource` if a source cannot be read or is not allowed, if there are no images at all, or if the
    deadline is over, and `Unavailable` if a store cannot be reached.
    """
    roots = (settings.image_roots or None) if allowed_roots is None else allowed_roots
    locator = Locator(roots=roots, allow_private_hosts=settings.allow_private_hosts, bucket_roots=allowed_buckets)
    reader = _Reader(locator=locator, settings=settings, deadline=deadline or Deadline())
    found: dict[str, SubmittedImage] = {}
    conflicts: dict[str, str] = {}
    count = 0
    for image in _named_images(reader, sources, images):
        count += 1
        reader.deadline.check()
        progress(count)
        earlier = found.setdefault(image.uri, image)
        if earlier is not image:
            if conflict := _conflict(earlier, image):
                conflicts.setdefault(image.uri, conflict)
            timed = earlier if earlier.captured_at else image
            found[image.uri] = earlier._replace(
                captured_at=timed.captured_at,
                stamp=timed.stamp,
                stamp_offset=timed.stamp_offset,
                deployment=earlier.deployment or image.deployment,
                # A later signature is likely to be valid for longer.
                link=image.link or earlier.link,
            )
    if not found:
        raise errors.InvalidSource("; ".join(_nothing(reader)))
    chosen = list(found.values())
    if deployment:
        chosen = [image if image.deployment else image._replace(deployment=deployment) for image in chosen]
    return Gathered(
        images=chosen,
        duplicates=count - len(chosen),
        conflicts=conflicts,
        warnings=reader.warnings,
        left_out=list(reader.left_out),
        versions=reader.versions,
    )


def about_duplicates(duplicates: int, conflicts: Mapping[str, str]) -> str:
    """A warning about images that were named more than once; empty if none was."""
    if not duplicates:
        return ""
    merged = f"{counted(duplicates, 'image')} named more than once: merged"
    if not conflicts:
        return merged
    uri, conflict = next(iter(conflicts.items()))
    return (
        f"{merged}; {len(conflicts):,} with different values, of which the first counts. The first such image: "
        f"{server_urls.without_password(uri)} ({conflict})"
    )


def _nothing(reader: _Reader) -> list[str]:
    """Why there are no images."""
    said = reader.warnings or ["no images: name a folder, a list, or URLs"]
    counts = count_left_out([*reader.left_out])
    if summary := kinds.summary(counts):
        said = [*said, f"left out: {summary}"]
    return [*said, advice] if (advice := kinds.help_for(counts)) else said


def _conflict(one: SubmittedImage, other: SubmittedImage) -> str:
    """What two rows of one image say differently; empty if they agree or complete each other."""
    if one.deployment and other.deployment and one.deployment != other.deployment:
        return f"deployment {one.deployment!r} and {other.deployment!r}"
    if one.captured_at and other.captured_at and one.captured_at != other.captured_at:
        return f"captured_at {one.captured_at.isoformat()} and {other.captured_at.isoformat()}"
    return ""


def own_folders(sources: Sequence[str]) -> list[Path]:
    """The local folders of the sources. A user who names them at the command line thereby allows them."""
    folders: list[Path] = []
    for source in sources:
        scheme = scheme_of(source)
        if scheme not in (None, "file"):
            continue
        path = _fixed_part(local_path(source) if scheme else os.path.expanduser(source))
        folders.append(Path(path if os.path.isdir(path) or not path else os.path.dirname(path) or "."))
    return folders


def _fixed_part(path: str) -> str:
    """The path itself; for a pattern, the folder that contains everything it can match."""
    while MAGIC.search(path) and not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts `trap2` before `trap10`."""
    return [int(part) if index % 2 else part.lower() for index, part in enumerate(_DIGITS.split(name))], name


def _check_kind(location: str, path: str) -> None:
    """Refuse a remote file that is named by itself and, by its name, is no photograph. Raises `InvalidSource`."""
    if kinds.is_list(path):
        raise errors.InvalidSource(f"{location} is a list; lists are read from local files: download it first")
    if kinds.kind_of_file(path) is Kind.VIDEO:
        raise errors.InvalidSource(f"{location} is a video; {kinds.help_for({Kind.VIDEO: 1})}")


@dataclass(kw_only=True)
class _Reader:
    """Expands sources, one after the other, and collects warnings and what is left out."""

    locator: Locator
    settings: Settings
    deadline: Deadline
    warnings: list[str] = field(default_factory=list)
    # Keys only: two sources may leave out the same file.
    left_out: dict[LeftOut, None] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)

    def read(self, source: str) -> Iterator[SubmittedImage]:
        """The images of one source."""
        if "\0" in source:
            raise errors.InvalidSource(f"{source!r} is not a valid path")
        if len(source) > MAX_URI:
            raise errors.InvalidSource(f"{source[:80]}… is longer than {MAX_URI} characters")
        scheme = scheme_of(source)
        if scheme == "s3":
            yield from self._bucket(locations.in_lower_case(source))
        elif scheme in ("http", "https"):
            _check_kind(source, urlsplit(source).path)
            yield self.image(source)
        elif scheme in (None, "file"):
            path = local_path(source) if scheme else os.path.expanduser(source)
            # Check the bounds first: an error must not tell a caller what a list says or whether a file exists.
            self.locator.check_bounds(fixed := _fixed_part(path), source)
            if ".." in path[len(fixed) :].split("/"):
                raise errors.InvalidSource(f"{source}: no .. after a pattern")
            if os.path.exists(path):
                yield from self._path(path)
            elif MAGIC.search(path):
                yield from self._pattern(path)
            else:
                raise errors.InvalidSource(f"there is no file or folder {path}")
        else:
            # Raises an error that lists the supported schemes.
            yield self.image(source)

    def image(self, location: str) -> SubmittedImage:
        """The image at one location."""
        return _submitted(self.locator.locate(location))

    def _leave_out(self, kind: Kind, path: str, why: str = "") -> None:
        self.left_out[LeftOut(kind, path, why)] = None

    def _path(self, path: str) -> Iterator[SubmittedImage]:
        if os.path.isdir(path):
            yield from self._folder(path)
        elif kinds.is_list(path):
            yield from self._list(Path(path))
        elif kinds.is_image(path):
            yield _submitted(self.locator.file(path))
        else:
            advice = kinds.help_for({kinds.kind_of_file(path): 1})
            raise errors.InvalidSource(
                f"{path} is neither an image ({kinds.plain(kinds.IMAGE_SUFFIXES)}) nor a list "
                f"({kinds.plain(kinds.LIST_SUFFIXES)}){advice and '; '}{advice}"
            )

    def _folder(self, folder: str) -> Iterator[SubmittedImage]:
        empty = True
        paths = self._walk(folder)
        slow = False
        with ThreadPoolExecutor(max_workers=_LOOKS, thread_name_prefix="look") as pool:
            while some := list(itertools.islice(paths, _TOGETHER)):
                began = time.monotonic()
                located = list((pool.map if slow else map)(self._located, some))
                slow = slow or time.monotonic() - began > len(some) * SLOW_LOOK
                for path, one in zip(some, located, strict=True):
                    for image in self._taken(path, one):
                        empty = False
                        yield image
        if empty:
            self.warnings.append(f"no images in {folder} or below it ({_LOOKED_FOR})")

    def _located(self, path: str) -> Located | Unusable:
        """Where a file is that was found, or why nothing of it can be read. May be called by several threads."""
        try:
            return self.locator.file(path)
        except Unusable as error:
            return error

    def _taken(self, path: str, located: Located | Unusable) -> Iterator[SubmittedImage]:
        """The image that was found at a path; none if it has to be left out."""
        if isinstance(located, Unusable):
            self._leave_out(Kind.UNREADABLE, path, str(located))
        elif not located.exists:
            link = os.path.islink(path)
            self._leave_out(Kind.UNREADABLE, path, "a link that leads to no file" if link else "not a regular file")
        elif located.size == 0:
            self._leave_out(Kind.EMPTY, path)
        else:
            yield _submitted(located)

    def _walk(self, folder: str) -> Iterator[str]:
        """The images below a folder, in natural order, without hidden and junk files and folders.

        Symlinked folders are followed, and each folder is visited once. A folder that cannot be read is left out.
        Raises `InvalidSource` if that is the folder itself.
        """
        seen: set[tuple[int, int]] = set()
        # A stack for depth-first order; entries are pushed in reverse, so that subfolders and files come out sorted
        # together.
        waiting: list[tuple[str, bool]] = [(folder, True)]
        while waiting:
            path, is_folder = waiting.pop()
            self.deadline.check()
            if not is_folder:
                yield path
                continue
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                wanted = self._entries(path)
            except OSError as error:
                if path == folder:
                    raise errors.InvalidSource(f"folder {path} cannot be read: {error.strerror}") from None
                self._leave_out(Kind.UNREADABLE, path, error.strerror or "")
                continue
            wanted.sort(key=lambda entry: natural_order(entry[0]), reverse=True)
            waiting.extend((os.path.join(path, name), is_dir) for name, is_dir in wanted)

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """The images and folders of a folder, and whether each is a folder; looks at no file but links."""
        wanted = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if kind := kinds.left_out(entry.name):
                    self._leave_out(kind, entry.path)
                    continue
                try:
                    is_dir = entry.is_dir()
                except OSError as error:
                    self._leave_out(Kind.UNREADABLE, entry.path, error.strerror or "")
                    continue
                if is_dir or kinds.is_image(entry.name):
                    wanted.append((entry.name, is_dir))
                else:
                    self._leave_out(kinds.kind_of_file(entry.name), entry.path)
        return wanted

    def _pattern(self, pattern: str) -> Iterator[SubmittedImage]:
        """Everything that matches; lists only if the pattern asks for them by their ending."""
        empty = True
        asks_for_lists = kinds.is_list(pattern)
        magic = MAGIC.search(pattern)
        fixed = pattern.rfind("/", 0, magic.start() if magic else None) + 1
        named = pattern.split("/")
        found = patterns.local_paths(
            pattern[:fixed],
            pattern[fixed:],
            unreadable=lambda path, why: self._leave_out(Kind.UNREADABLE, path, why),
            check=self.deadline.check,
        )
        for path, is_folder in sorted(found, key=lambda one: natural_order(one[0])):
            if pattern.endswith("/") and not is_folder:
                continue
            if junk := kinds.first_junk(path[fixed:], named=named):
                self._leave_out(Kind.JUNK, path[:fixed] + junk)
            elif is_folder:
                # `**` matches each folder as well as its files, so the folder itself is skipped.
                if "**" not in pattern:
                    empty = False
                    yield from self._folder(path)
            elif kinds.is_list(path) and asks_for_lists:
                empty = False
                yield from self._list(Path(path))
            elif kinds.is_image(path):
                for image in self._taken(path, self._located(path)):
                    empty = False
                    yield image
            else:
                self._leave_out(kinds.kind_of_file(path), path)
        if empty:
            self.warnings.append(f"no images match {pattern} ({_LOOKED_FOR})")

    def _bucket(self, uri: str) -> Iterator[SubmittedImage]:
        magic = MAGIC.search(uri)
        self.locator.check_bucket_bounds(uri[: magic.start()] if magic else f"{uri.rstrip('/')}/")
        keys = buckets.list_objects(uri, self.settings, check=self.deadline.check)
        self.versions.update(keys)
        if list(keys) == [uri]:
            _check_kind(uri, uri)
            yield self.image(uri)
            return
        fixed = len(uri[: magic.start()].rpartition("/")[0] if magic else uri.rstrip("/")) + 1
        empty = True
        for key in sorted(keys, key=natural_order):
            if left_out := kinds.first_left_out(key[fixed:]):
                kind, part = left_out
                self._leave_out(kind, key[:fixed] + part)
            elif not kinds.is_image(key):
                self._leave_out(kinds.kind_of_file(key), key)
            elif keys[key].size == 0:
                self._leave_out(Kind.EMPTY, key)
            else:
                try:
                    image = self.image(key)
                except Unusable as error:
                    self._leave_out(Kind.UNREADABLE, key, str(error))
                    continue
                empty = False
                yield image
        if empty:
            self.warnings.append(f"no images under {uri}: {counted(len(keys), 'object')} there ({_LOOKED_FOR})")

    def _list(self, path: Path) -> Iterator[SubmittedImage]:
        # Again, because a symlink may be within bounds while the list it points to is not.
        self.locator.check_bounds(str(path), str(path))
        listing = source_lists.read(path)
        self.warnings += listing.warnings
        base = os.path.dirname(os.path.abspath(path))
        folders = spelling.Folders()
        local = missing = 0
        first_missing = ""
        unusable = ""
        found: list[SubmittedImage] = []
        for entry in listing.entries:
            self.deadline.check()
            place = source_lists.where(path, entry.number)
            if kinds.kind_of_file(entry.location.partition("?")[0]) is Kind.VIDEO:
                self._leave_out(Kind.VIDEO, entry.location, place)
                continue
            try:
                located = self._of_list(entry, base, folders)
            except Unusable as error:
                unusable = unusable or f"{place}: {error}"
                self._leave_out(Kind.UNREADABLE, entry.location, f"{place}: {error}")
                continue
            except errors.InvalidSource as error:
                raise errors.InvalidSource(f"{place}: {error}") from None
            local += located.uri.startswith("file:")
            if not located.exists:
                missing += 1
                first_missing = first_missing or f"{entry.location}, {place}"
            found.append(_submitted(located, entry.captured_at, entry.deployment))
        if unusable and not found:
            raise errors.InvalidSource(unusable)
        if not found:
            self.warnings.append(f"{path} names no images")
        elif missing == len(found):
            raise errors.InvalidSource(
                f"none of the {counted(missing, 'file')} named in {path} exists (relative to {base}); "
                f"the first: {first_missing}"
            )
        if missing:
            self.warnings.append(
                f"{missing} of {counted(local, 'file')} named in {path} {'does' if missing == 1 else 'do'} not exist; "
                f"the first: {first_missing}"
            )
        yield from found

    def _of_list(self, entry: source_lists.Entry, base: str, folders: spelling.Folders) -> Located:
        """The image that a list's row names; a local one as it is spelled on this computer, if it is there at all.

        Other computers write backslashes, other letter cases, other forms of accents, and their own folders.
        """
        first = None
        written = [location for location in (entry.location, entry.otherwise) if location]
        # A backslash may be part of a name, so that comes first.
        for text in dict.fromkeys(form for location in written for form in (location, location.replace("\\", "/"))):
            if "\0" in text:
                raise Unusable(f"{text!r} is not a valid path")
            path = os.path.join(base, os.path.expanduser(text)) if scheme_of(text) is None else ""
            # This checks the bounds, too.
            located = self.locator.file(path) if path else self.locator.locate(text)
            if located.exists:
                return located
            first = first or located
            if path and (spelled := folders.find(path)) and os.path.isfile(spelled):
                return self.locator.file(spelled)
        if first is None:
            raise Unusable("no location")
        return first


def _named_images(
    reader: _Reader, sources: Sequence[str], images: Sequence[SubmittedImage]
) -> Iterator[SubmittedImage]:
    for source in sources:
        yield from reader.read(source)
    for image in images:
        found = reader.image(image.uri)._replace(deployment=image.deployment)
        yield _timed(found, image.captured_at)


def _submitted(located: Located, captured_at: datetime | None = None, deployment: str | None = None) -> SubmittedImage:
    """The one place where a located image becomes one of a submission."""
    if located.mtime_ns is not None and located.size is not None and located.exists:
        version = versions.of_file(size=located.size, mtime_ns=located.mtime_ns)
        image = SubmittedImage(located.uri, None, deployment, version)
    else:
        image = SubmittedImage(located.uri, None, deployment, link=located.link)
    return _timed(image, captured_at)


def _timed(image: SubmittedImage, captured_at: datetime | None) -> SubmittedImage:
    """The image with a time as it was written: in its own zone, or without one."""
    return image if captured_at is None else capture_times.timed(image, Taken.of(captured_at))
