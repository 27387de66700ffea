"""Reads images from local folders and mounted network drives."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from antenna_orchestration import errors
from antenna_orchestration.domain import addresses, versions
from antenna_orchestration.loading.sources import Reservation, ReservationTooSmall, check_size
from antenna_orchestration.loading.threads import DaemonThreads

_SPECIAL: Final = re.compile(r"[%?#\0]")
_NAMED_WRONGLY: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})


class FileSource:
    """Reads local files on threads.

    It reads any path: submission has already checked which folders a job may name. `roots` (the setting `IMAGE_ROOTS`)
    only help to tell a missing mount from a missing file. `limit` is the largest file in bytes, `threads` the largest
    number of reads at the same time.
    """

    def __init__(self, *, roots: Sequence[Path], limit: int, threads: int) -> None:
        # Both as they are written and where they lead: images keep the names that they were submitted with.
        self._roots = (*roots, *(root.resolve() for root in roots))
        self._limit = limit
        self._threads = DaemonThreads(threads, name="read")

    async def fetch(self, uri: str, reservation: Reservation) -> bytes:
        """Read the file that a `file://` URI names.

        Raises `ImageForbidden` when this worker cannot see the folder (not mounted, or no permission), `ImageUnusable`
        when the folder is there but the file is missing, too large or not a regular file, and `ImageUnreachable` when
        reading fails.
        """
        path = _local_path(uri)
        while True:
            try:
                return await self._threads.run(lambda: self._read(path, reservation))
            except ReservationTooSmall as more:
                reservation.grow(more.size)

    def host(self, uri: str) -> str:
        """The mount that the file is probably on: the first two folders of its path."""
        return "/".join(uri.split("/")[:5])

    async def close(self) -> None:
        """Stop using the threads. A read that hangs cannot be stopped; its thread ends with the process."""
        self._threads.close()

    def _read(self, path: str, reservation: Reservation) -> bytes:
        try:
            return _read_regular(path, reservation, limit=self._limit)
        except FileNotFoundError:
            raise self._missing(Path(path)) from None
        except PermissionError as error:
            raise errors.ImageForbidden(f"no permission to read {error.filename or path}") from error
        except OSError as error:
            if error.errno in _NAMED_WRONGLY:
                raise errors.ImageUnusable(f"not a file: {error.strerror}") from error
            if error.errno == errno.ENOTDIR:
                raise errors.ImageUnusable("no such file") from error
            where = Path(path).parent
            raise errors.ImageUnreachable(f"reading from {where} failed: {error.strerror or error}") from error

    def _missing(self, path: Path) -> errors.ImageError:
        """The error for a missing file. If its folder is missing or empty, the drive is probably not mounted."""
        folder = path.parent
        root = next((root for root in self._roots if path.is_relative_to(root)), None)
        if root is not None and not root.is_dir():
            return errors.ImageForbidden(f"the folder {root} of IMAGE_ROOTS does not exist on this worker")
        try:
            with os.scandir(folder) as entries:
                empty = next(entries, None) is None
        except FileNotFoundError:
            return errors.FolderMissing(f"the folder {folder} does not exist on this worker")
        except OSError:
            return errors.ImageForbidden(f"no permission to look into {folder}")
        if empty:
            return errors.ImageForbidden(f"the folder {folder} is empty on this worker; is it mounted?")
        return errors.ImageUnusable("no such file")


def _local_path(uri: str) -> str:
    """The path in a `file://` URI. Raises `ImageUnusable` if it names another host or the path is not absolute."""
    if uri.startswith("file:///") and not _SPECIAL.search(uri):
        return uri[7:]
    parts = urlsplit(uri)
    path = addresses.path_of(uri)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise errors.ImageUnusable("not a file URI of this host")
    return path


def _read_regular(path: str, reservation: Reservation, *, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes. Raises `ReservationTooSmall` if it is larger than reserved."""
    # Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise errors.ImageUnusable("not a regular file")
        reservation.found(versions.of_file(size=status.st_size, mtime_ns=status.st_mtime_ns))
        check_size(status.st_size, limit)
        if status.st_size > reservation.size:
            raise ReservationTooSmall(status.st_size)
        data = os.read(handle, status.st_size)
        while len(data) < status.st_size and (more := os.read(handle, status.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(handle)
