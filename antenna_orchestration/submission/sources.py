"""Expands the SOURCE arguments of a submission (folders, patterns, files, buckets, URLs, lists) into images.

It reads file names and lists, but never an image, and it writes nothing. It may block on a slow disk or store, so
`submit` calls it on a thread.
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH100, PTH110, PTH111, PTH112, PTH116, PTH118, PTH120, PTH122, PTH207
from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain.times import in_utc
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets, source_lists
from antenna_orchestration.submission.locations import IMAGE_SUFFIXES, Locator, local_path, scheme_of

_DIGITS = re.compile(r"(\d+)", re.ASCII)
_MAGIC = re.compile(r"[*?\[]")


@dataclass(kw_only=True, slots=True)
class Gathered:
    """The images that the sources name, each once, in the order in which they were named."""

    images: list[SubmittedImage]
    # How many images were named more than once and merged.
    duplicates: int = 0
    # What the user should know although it did not stop the submission.
    warnings: list[str] = field(default_factory=list)
    # What listings of buckets said of the images' versions.
    versions: dict[str, Version] = field(default_factory=dict)


def gather(
    sources: Sequence[str],
    images: Sequence[SubmittedImage] = (),
    *,
    settings: Settings,
    allowed_roots: Sequence[Path] | None = None,
    allowed_buckets: Sequence[str] | None = None,
    deployment: str | None = None,
) -> Gathered:
    """Collect the images that `sources` and `images` name, each URI once.

    `allowed_roots` are the folders that local images may be in; None stands for the setting `IMAGE_ROOTS`, and for any
    folder if that is not set. `allowed_buckets` are the `s3://bucket/prefix` locations that images may be in; None
    allows everything that this process has credentials for. Images without a deployment get `deployment`.

    Raises `InvalidSource` if a source cannot be read or is not allowed, or if there are no images at all, and
    `Unavailable` if a store cannot be reached.
    """
    roots = (settings.image_roots or None) if allowed_roots is None else allowed_roots
    locator = Locator(roots=roots, allow_private_hosts=settings.allow_private_hosts, bucket_roots=allowed_buckets)
    reader = _Reader(locator=locator, settings=settings)
    found: dict[str, SubmittedImage] = {}
    count = 0
    for image in _named_images(reader, sources, images):
        count += 1
        earlier = found.get(image.uri)
        if earlier is None:
            found[image.uri] = image
        elif earlier.captured_at is None or earlier.deployment is None:
            found[image.uri] = SubmittedImage(
                image.uri, earlier.captured_at or image.captured_at, earlier.deployment or image.deployment
            )
    if not found:
        raise errors.InvalidSource("; ".join(reader.warnings) or "no images: name a folder, a list, or URLs")
    chosen = list(found.values())
    if deployment:
        chosen = [image if image.deployment else image._replace(deployment=deployment) for image in chosen]
    return Gathered(images=chosen, duplicates=count - len(chosen), warnings=reader.warnings, versions=reader.versions)


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
    while _MAGIC.search(path) and not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def natural_order(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts `trap2` before `trap10`."""
    return [int(part) if index % 2 else part.lower() for index, part in enumerate(_DIGITS.split(name))], name


@dataclass(kw_only=True)
class _Reader:
    """Expands sources, one after the other, and collects warnings."""

    locator: Locator
    settings: Settings
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, Version] = field(default_factory=dict)

    def read(self, source: str) -> Iterator[SubmittedImage]:
        """The images of one source."""
        scheme = scheme_of(source)
        if scheme == "s3":
            yield from self._bucket(source)
        elif scheme in ("http", "https"):
            if urlsplit(source).path.lower().endswith(source_lists.LIST_SUFFIXES):
                raise errors.InvalidSource(f"{source} is a list; lists are read from local files: download it first")
            yield self.image(source)
        elif scheme in (None, "file"):
            path = local_path(source) if scheme else os.path.expanduser(source)
            # Check the bounds first: an error must not tell a caller what a list says or whether a file exists.
            self.locator.check_bounds(fixed := _fixed_part(path), source)
            if ".." in path[len(fixed) :].split("/"):
                raise errors.InvalidSource(f"{source}: no .. after a pattern")
            if os.path.exists(path):
                yield from self._path(path)
            elif _MAGIC.search(path):
                yield from self._pattern(path)
            else:
                raise errors.InvalidSource(f"there is no file or folder {path}")
        else:
            # Raises an error that lists the supported schemes.
            yield self.image(source)

    def image(self, location: str) -> SubmittedImage:
        """The image at one location."""
        return SubmittedImage(self.locator.locate(location).uri, None, None)

    def _path(self, path: str) -> Iterator[SubmittedImage]:
        suffix = os.path.splitext(path)[1].lower()
        if os.path.isdir(path):
            yield from self._folder(path)
        elif suffix in source_lists.LIST_SUFFIXES:
            yield from self._list(Path(path))
        elif suffix in IMAGE_SUFFIXES:
            yield SubmittedImage(self.locator.file(path).uri, None, None)
        else:
            raise errors.InvalidSource(
                f"{path} is neither an image ({_plain(IMAGE_SUFFIXES)}) nor a list "
                f"({_plain(source_lists.LIST_SUFFIXES)})"
            )

    def _folder(self, folder: str) -> Iterator[SubmittedImage]:
        empty = True
        for path in _walk(folder):
            empty = False
            yield SubmittedImage(self.locator.file(path).uri, None, None)
        if empty:
            self.warnings.append(f"no images in {folder} or below it (looked for {_plain(IMAGE_SUFFIXES)})")

    def _pattern(self, pattern: str) -> Iterator[SubmittedImage]:
        """Everything that matches, except files that are neither images nor lists."""
        empty = True
        for path in sorted(glob.iglob(pattern, recursive=True), key=natural_order):
            wanted = (*IMAGE_SUFFIXES, *source_lists.LIST_SUFFIXES)
            if os.path.isdir(path):
                # `**` matches each folder as well as its files, so the folder itself is skipped.
                if "**" not in pattern:
                    empty = False
                    yield from self._folder(path)
            elif path.lower().endswith(wanted):
                empty = False
                yield from self._path(path)
        if empty:
            self.warnings.append(f"no images match {pattern} (looked for {_plain(IMAGE_SUFFIXES)})")

    def _bucket(self, uri: str) -> Iterator[SubmittedImage]:
        magic = _MAGIC.search(uri)
        self.locator.check_bucket_bounds(uri[: magic.start()] if magic else f"{uri.rstrip('/')}/")
        keys = buckets.list_objects(uri, self.settings)
        self.versions.update(keys)
        if list(keys) == [uri]:
            yield self.image(uri)
            return
        chosen = [key for key in keys if key.lower().endswith(IMAGE_SUFFIXES) and not _is_hidden(key, uri)]
        for key in sorted(chosen, key=natural_order):
            yield self.image(key)
        if not chosen:
            self.warnings.append(
                f"no images under {uri}: {len(keys)} objects there (looked for {_plain(IMAGE_SUFFIXES)})"
            )

    def _list(self, path: Path) -> Iterator[SubmittedImage]:
        # Again, because a symlink may be within bounds while the list it points to is not.
        self.locator.check_bounds(str(path), str(path))
        entries = source_lists.read(path)
        if not entries:
            self.warnings.append(f"{path} names no images")
        base = os.path.dirname(os.path.abspath(path))
        local = missing = 0
        first_missing = ""
        found: list[SubmittedImage] = []
        for entry in entries:
            try:
                located = self.locator.locate(entry.location, base=base)
            except errors.InvalidSource as error:
                raise errors.InvalidSource(f"{source_lists.where(path, entry.number)}: {error}") from None
            local += located.uri.startswith("file:")
            if not located.exists:
                missing += 1
                first_missing = first_missing or f"{entry.location}, {source_lists.where(path, entry.number)}"
            found.append(SubmittedImage(located.uri, entry.captured_at, entry.deployment))
        if missing and missing == len(entries):
            raise errors.InvalidSource(
                f"none of the {missing} files named in {path} exists (relative to {base}); the first: {first_missing}"
            )
        if missing:
            self.warnings.append(f"{missing} of {local} files named in {path} do not exist; the first: {first_missing}")
        yield from found


def _named_images(
    reader: _Reader, sources: Sequence[str], images: Sequence[SubmittedImage]
) -> Iterator[SubmittedImage]:
    for source in sources:
        yield from reader.read(source)
    for image in images:
        time = in_utc(image.captured_at) if image.captured_at else None
        yield SubmittedImage(reader.image(image.uri).uri, time, image.deployment)


def _walk(folder: str) -> Iterator[str]:
    """The images below a folder, in natural order, without hidden files and folders.

    Symlinked folders are followed, and each folder is visited once.
    """
    seen: set[tuple[int, int]] = set()
    # A stack for depth-first order; entries are pushed in reverse, so that subfolders and files come out sorted
    # together.
    waiting: list[tuple[str, bool]] = [(folder, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield path
            continue
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                shown = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise errors.InvalidSource(f"folder {path} cannot be read: {error.strerror}") from None
        wanted = [(name, is_dir) for name, is_dir in shown if is_dir or name.lower().endswith(IMAGE_SUFFIXES)]
        wanted.sort(key=lambda entry: natural_order(entry[0]), reverse=True)
        waiting.extend((os.path.join(path, name), is_dir) for name, is_dir in wanted)


def _is_hidden(key: str, prefix: str) -> bool:
    """Whether any part of the key after the prefix begins with a dot."""
    return any(part.startswith(".") for part in key.removeprefix(prefix).split("/"))


def _plain(suffixes: Sequence[str]) -> str:
    return ", ".join(suffix.removeprefix(".") for suffix in suffixes)
