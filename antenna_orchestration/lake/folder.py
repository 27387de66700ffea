"""A folder of files on a disk or in a bucket: listing, reading, writing, removing and copying. The lake is one.

Belongs here: everything that fsspec is asked to do, and how its errors become ours. What the files hold is in `store`.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import fsspec
import fsspec.implementations.local

from antenna_orchestration import errors, kernel

if TYPE_CHECKING:
    from antenna_orchestration.settings import Settings

AT_A_TIME: Final = 8
"""Files copied at the same time: a bucket answers each request after tens of milliseconds."""

BLOCK: Final = 4 * 2**20
"""Bytes copied at once."""

_DRAFTS: Final = ".drafts"
"""Folder of unfinished files. It is not beside the final ones, because Polars refuses a folder with any other file."""


DRAFT_REST: Final = 60.0
"""Seconds without a write after which a draft may be one that a crash left behind."""

DRAFT_LOST: Final = 86_400.0
"""The same where files cannot be locked, so that nobody knows whether it is still being written."""


_TRIES: Final = 5
"""How often a file is opened that is replaced at that very moment."""


def storage_options(settings: Settings, uri: str = "") -> dict[str, Any]:
    """The fsspec options for a URI, the lake's own if none is given; empty for anything but `s3://`."""
    if not (uri or settings.lake).startswith("s3://"):
        return {}
    return {"endpoint_url": settings.s3_endpoint_url or None, "anon": settings.s3_anonymous}


class Missing(errors.LakeUnavailable):
    """The file or folder does not exist."""


class Version(NamedTuple):
    """A file that is open for reading, whatever replaces it meanwhile."""

    file: IO[bytes]
    # Bytes.
    size: int
    # Another one for each time that the file was written.
    tag: str


class Folder:
    """The files below a local folder or `s3://bucket/prefix`, by their relative paths. Methods block.

    Every failure of the store raises `Unavailable`; pyarrow's errors about a file's content pass.
    """

    def __init__(
        self,
        uri: str,
        *,
        storage_options: dict[str, Any] | None = None,
        what: str = "",
        mark: Callable[[], str] | None = None,
    ) -> None:
        """`what` stands before the URI in error messages.

        `mark` returns the path of a file that is there as long as the folder's disk is mounted, or nothing: while it is
        missing, writing and removing raise `Unavailable`, and whoever misses a file may ask (`check_mounted`). It may
        look at the disk, and so may block.
        """
        # In an env file no shell replaces the `~` of a home folder.
        self.uri = uri.rstrip("/") if "://" in uri else str(Path(uri).expanduser().absolute())
        self._shown = f"{what} {uri.rstrip('/')}" if what else self.uri
        self._mark = mark
        self._fs, self._root = fsspec.core.url_to_fs(self.uri, **(storage_options or {}))
        self._is_local = isinstance(self._fs, fsspec.implementations.local.LocalFileSystem)
        # Other stores raise errors of their own libraries: botocore's are not OSError, and s3fs lets them pass.
        self._faults: type[Exception] = OSError if self._is_local else Exception

    @property
    def remote(self) -> Any:
        """The fsspec file system of a folder that is not on a local disk, for readers that take one; else None."""
        return None if self._is_local else self._fs

    def check_mounted(self) -> None:
        """Raise `Unavailable` if the mark is gone: what lies here then is what is below the mount point."""
        if self._mark is None or not (path := self._mark()):
            return
        try:
            Path(path).stat()
        except FileNotFoundError as error:
            raise errors.LakeUnavailable(f"{self._shown}: there is no {path}: is it mounted?") from error
        except OSError as error:
            raise self._unavailable(error) from error

    # Listing

    def files(self) -> dict[str, int]:
        """All files with their sizes, except hidden ones, and so without drafts that a crash left behind."""
        with self._reaching():
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True) if self._fs.exists(self._root) else {}
        names = {path.removeprefix(f"{self._root}/"): int(entry["size"]) for path, entry in found.items()}
        return {name: size for name, size in names.items() if "/." not in f"/{name}"}

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; none if it does not exist. `path` is not a pattern; it may hold anything."""
        try:
            with self._reaching():
                self._fs.invalidate_cache()
                found: list[str] = self._fs.ls(self._full(path), detail=False)
        except Missing:
            return []
        return sorted(one.rstrip("/").rpartition("/")[2] for one in found)

    def find(self, path: str) -> list[str]:
        """The files below a folder, as paths below it; none if it does not exist."""
        full = self._full(path)
        with self._reaching():
            self._fs.invalidate_cache()
            return [found.removeprefix(f"{full}/") for found in self._fs.find(full)]

    def details(self, path: str) -> dict[str, tuple[int, float]]:
        """The files below a folder, as paths below the root, with their bytes and when they were written (POSIX)."""
        with self._reaching():
            self._fs.invalidate_cache()
            found = self._fs.find(self._full(path), detail=True)
        return {
            name.removeprefix(f"{self._root}/"): (int(entry["size"]), _written(entry)) for name, entry in found.items()
        }

    # Reading

    def read(self, path: str) -> bytes:
        """One file's bytes. Raises `Missing`."""
        with self._reaching():
            content: bytes = self._fs.cat_file(self._full(path))
            return content

    @contextmanager
    def reading(self, path: str, *, fresh: bool = False) -> Iterator[IO[bytes]]:
        """One file, opened for reading; `fresh` disregards what an earlier listing said of it. Raises `Missing`."""
        with self._reaching():
            if fresh:
                self._fs.invalidate_cache()
            with self._fs.open(self._full(path), "rb") as file:
                yield file

    @contextmanager
    def reading_version(self, path: str) -> Iterator[Version]:
        """One file, opened for reading, with what names this version of it. Raises `Missing`.

        A store that hands out a file in parts raises `Unavailable` when it is replaced while it is read.
        """
        full = self._full(path)
        with self._reaching():
            for _ in range(_TRIES):
                before = self._key(full)
                with self._fs.open(full, "rb") as file:
                    # Only so is it known which version was opened.
                    if self._key(full) == before:
                        size = file.seek(0, os.SEEK_END)
                        file.seek(0)
                        yield Version(file, size, before)
                        return
        raise errors.LakeUnavailable(f"{self._shown}: {path} is being replaced again and again")

    def size(self, path: str) -> int:
        """Bytes of one file. Raises `Missing`."""
        with self._reaching():
            return int(self._fs.info(self._full(path))["size"])

    # Writing

    def write(self, path: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Let `fill` write a file that appears whole or not at all.

        On a local disk its content is synced; `sync` makes its name durable, too.
        """
        self.check_mounted()
        try:
            if self._is_local:
                self._write_local(Path(self._full(path)), fill)
                return
            # A file that is opened on a store is committed when it is closed, even if `fill` failed.
            with tempfile.NamedTemporaryFile(prefix="antenna-") as draft:
                fill(draft)
                draft.flush()
                with self._reaching():
                    self._fs.put_file(draft.name, self._full(path))
        except OSError as error:
            raise self._unavailable(error) from error

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A new file to stream to; an error leaves it incomplete."""
        self.check_mounted()
        with self._reaching():
            if self._is_local:
                Path(self._full(path)).parent.mkdir(parents=True, exist_ok=True)
            with self._fs.open(self._full(path), "wb") as file:
                yield file

    def sync(self, path: str) -> None:
        """Make the names in a folder durable; nothing to do for a bucket."""
        if self._is_local:
            with self._reaching():
                kernel.sync_folder(self._full(path))

    def make_private(self) -> None:
        """Make the folder, for its owner only; nothing to do for a bucket."""
        if self._is_local:
            with self._reaching():
                Path(self._root).mkdir(parents=True, exist_ok=True)
                Path(self._root).chmod(0o700)

    # Removing

    def remove(self, paths: Iterable[str]) -> None:
        """Delete files; idempotent."""
        self.check_mounted()
        for path in paths:
            with self._reaching(), suppress(FileNotFoundError):
                self._fs.rm_file(self._full(path))

    def remove_folder(self, path: str) -> None:
        """Delete a folder with all that it holds. Raises `Missing`."""
        self.check_mounted()
        full = self._full(path)
        with self._reaching():
            self._fs.invalidate_cache()
            # Only the local file system does not take the path for a pattern.
            self._fs.rm(full if self._is_local else glob.escape(full), recursive=True)

    def lost_drafts(self) -> list[str]:
        """Unfinished files that nobody writes any more: their writer died. Only a local folder has any."""
        if not self._is_local:
            return []
        drafts = Path(self._root) / _DRAFTS
        with self._reaching():
            return [f"{_DRAFTS}/{draft.name}" for draft in sorted(drafts.glob("*")) if _is_lost(draft)]

    # Copying

    def copy_from(self, source: Folder, paths: Collection[str], *, may_vanish: bool = False) -> int:
        """Copy files; returns their bytes in all. One that is gone from the source is left out if it `may_vanish`."""

        def copy(path: str) -> int:
            try:
                with source.reading(path) as from_, self.writing(path) as to:
                    shutil.copyfileobj(from_, to, BLOCK)
                    return int(to.tell())
            except Missing:
                if may_vanish:
                    return 0
                raise

        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="copy") as pool:
            return sum(pool.map(copy, paths))

    def _key(self, full: str) -> str:
        self._fs.invalidate_cache()
        return str(self._fs.ukey(full))[:32]

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _write_local(self, final: Path, fill: Callable[[IO[bytes]], object]) -> None:
        drafts = Path(self._root) / _DRAFTS
        final.parent.mkdir(parents=True, exist_ok=True)
        drafts.mkdir(exist_ok=True)
        draft = drafts / f"{final.name}.{secrets.token_hex(4)}"
        try:
            with draft.open("wb") as sink:
                with suppress(OSError):  # some network file systems have no locks
                    fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fill(sink)
                sink.flush()
                os.fsync(sink.fileno())
            draft.replace(final)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what the store raises into `Unavailable`."""
        try:
            yield
        except errors.AntennaError:
            raise
        except FileNotFoundError as error:
            raise Missing(self._message(error)) from error
        except self._faults as error:
            if _is_of_arrow(error):
                raise
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> errors.LakeUnavailable:
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return (errors.LakeFull if is_full else errors.LakeUnavailable)(self._message(error))

    def _message(self, error: Exception) -> str:
        return f"{self._shown}: {type(error).__name__}: {error}"


def _is_of_arrow(error: Exception) -> bool:
    """Whether pyarrow could not read what a file holds; imported by then, and not by who only lists files."""
    return any(kind.__module__.startswith("pyarrow") for kind in type(error).__mro__)


def _written(entry: dict[str, Any]) -> float:
    """When a file was written, as local disks and buckets tell it."""
    at = entry.get("mtime", entry.get("LastModified", 0.0))
    return float(at.timestamp() if isinstance(at, datetime) else at)


def _is_lost(draft: Path) -> bool:
    """Whether a draft's writer is gone: it had the file locked, and the kernel unlocks it when a process dies."""
    try:
        with draft.open("rb") as file:
            silent = time.time() - os.fstat(file.fileno()).st_mtime
            if silent < DRAFT_REST:
                # It may not have locked it yet.
                return False
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return silent > DRAFT_LOST
            return True
    except FileNotFoundError:
        return False
