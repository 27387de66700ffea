"""Images in local folders and mounts."""

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
from antenna_orchestration.domain import addresses
from antenna_orchestration.loading.sources import Outgrown, Room, check_size
from antenna_orchestration.loading.threads import DaemonThreads

_SPECIAL: Final = re.compile(r"[%?#\0]")
_NAMED_WRONGLY: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})


class FileSource:
    """Reads local files on threads.

    A worker on the queue is trusted with the deployment, and trusts it: submission decided what may be processed.
    `roots` only tell a mount that is missing from a file that is.
    """

    def __init__(self, *, roots: Sequence[Path], limit: int, threads: int) -> None:
        self._roots = tuple(root.resolve() for root in roots)
        self._limit = limit
        self._threads = DaemonThreads(threads, name="read")

    async def fetch(self, uri: str, room: Room) -> bytes:
        """Read the file. A missing folder is this worker's fault (no mount), a file missing in it the image's."""
        path = path_of(uri)
        while True:
            try:
                return await self._threads.run(lambda: self._read(path, room.size))
            except Outgrown as more:
                room.grow(more.size)

    def host(self, uri: str) -> str:
        """The mount, as far as the path tells: its first two folders."""
        return "/".join(uri.split("/")[:5])

    async def close(self) -> None:
        """Leave the threads behind; one that hangs cannot be ended."""
        self._threads.close()

    def _read(self, path: str, room: int) -> bytes:
        try:
            return _read_regular(path, room=room, limit=self._limit)
        except FileNotFoundError:
            raise self._missing(Path(path)) from None
        except PermissionError as error:
            raise errors.ImageForbidden(f"no right to read {error.filename or path}") from error
        except OSError as error:
            if error.errno in _NAMED_WRONGLY:
                raise errors.ImageUnusable(f"not a file: {error.strerror}") from error
            if error.errno == errno.ENOTDIR:
                raise errors.ImageUnusable("no such file") from error
            raise errors.ImageUnreachable(f"reading failed: {error.strerror or error}") from error

    def _missing(self, path: Path) -> errors.ImageError:
        """Whose fault it is that there is no file: without its folder, or in an empty one, there is no mount."""
        folder = path.parent
        root = next((root for root in self._roots if path.is_relative_to(root)), None)
        if root is not None and not root.is_dir():
            return errors.ImageForbidden(f"the folder {root} of IMAGE_ROOTS is not there on this worker")
        try:
            with os.scandir(folder) as entries:
                empty = next(entries, None) is None
        except OSError:
            return errors.ImageForbidden(f"the folder {folder} is not there on this worker")
        if empty:
            return errors.ImageForbidden(f"the folder {folder} is empty on this worker; is it mounted?")
        return errors.ImageUnusable("no such file")


def path_of(uri: str) -> str:
    """The path of a `file://` URI. Raises `ImageUnusable` for one that names another host or no absolute path."""
    if uri.startswith("file:///") and not _SPECIAL.search(uri):
        return uri[7:]
    parts = urlsplit(uri)
    path = addresses.path_of(uri)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise errors.ImageUnusable("not a file URI of this host")
    return path


def _read_regular(path: str, *, room: int, limit: int) -> bytes:
    """Read a whole file of at most `limit` bytes. Raises `Outgrown` when it is larger than `room`."""
    # Opening a pipe would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise errors.ImageUnusable("not a regular file")
        check_size(status.st_size, limit)
        if status.st_size > room:
            raise Outgrown(status.st_size)
        data = os.read(handle, status.st_size)
        while len(data) < status.st_size and (more := os.read(handle, status.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(handle)
