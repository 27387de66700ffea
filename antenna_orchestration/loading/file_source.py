"""Reads images from local folders and mounted network drives."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil

from antenna_orchestration import errors
from antenna_orchestration.domain import addresses, versions
from antenna_orchestration.loading.sources import Reservation, ReservationTooSmall, check_size
from antenna_orchestration.loading.threads import DaemonThreads

_SPECIAL: Final = re.compile(r"[%?#\0]")
_NAMED_WRONGLY: Final = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO})


class FileSource:
    """Reads local files on threads.

    With `roots` (the setting `IMAGE_ROOTS`) it reads only what lies in them, wherever links lead: a link may have taken
    a file's place since the file was submitted, and a worker reads with other rights than whoever put it there. Without
    them it reads any path. `limit` is the largest file in bytes, `threads` the largest number of reads at a time.
    """

    def __init__(self, *, roots: Sequence[Path], limit: int, threads: int) -> None:
        # Both as they are written and where they lead: images keep the names that they were submitted with.
        self._real_roots = tuple(root.resolve() for root in roots)
        self._roots = (*roots, *self._real_roots)
        self._limit = limit
        self._threads = DaemonThreads(threads, name="read")
        # Where the disks were mounted that images came from, by the device numbers of the images.
        self._mounts: dict[int, Path] = {}

    async def fetch(self, uri: str, reservation: Reservation) -> bytes:
        """Read the file that a `file://` URI names.

        Raises `ImageForbidden` when this worker cannot see the folder (not mounted, or no permission), of which
        `FolderMissing` when only the folder is known to be missing, `ImageUnusable` when the folder is there but the
        file is missing, too large, not a regular file, or a link that leads out of the roots, and `ImageUnreachable`
        when reading fails.
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
            return _read_regular(path, reservation, limit=self._limit, check=partial(self._on_opened, path))
        except OSError as error:
            # What is outside is not told, not even whether it is there.
            self._check_bounds(path, Path(os.path.realpath(path)))
            raise self._error(path, error) from error

    def _error(self, path: str, error: OSError) -> errors.ImageError:
        """What a failed read means."""
        if isinstance(error, FileNotFoundError):
            return self._missing(Path(path))
        if isinstance(error, PermissionError):
            return errors.ImageForbidden(f"no permission to read {error.filename or path}")
        if error.errno in _NAMED_WRONGLY:
            return errors.ImageUnusable(f"not a file: {error.strerror}")
        if error.errno == errno.ENOTDIR:
            return errors.ImageUnusable("no such file")
        return errors.ImageUnreachable(f"reading from {Path(path).parent} failed: {error.strerror or error}")

    def _on_opened(self, path: str, handle: int) -> None:
        """Raise if an opened file lies outside the roots, and note which disk it is on."""
        if self._real_roots:
            # Where it lies the kernel says, so no link can change it.
            self._check_bounds(path, Path(f"/proc/self/fd/{handle}").readlink())
        self._note_mount(path, os.fstat(handle).st_dev)

    def _note_mount(self, path: str, device: int) -> None:
        """Know where the disk of an image is mounted, and forget one that this one has replaced."""
        below = [mount for mount in self._mounts.values() if Path(path).is_relative_to(mount)]
        if below and self._mounts.get(device) == max(below, key=lambda mount: len(mount.parts)):
            return
        real, mounts = Path(os.path.realpath(path)), _mount_points()
        mount = next((above for above in real.parents if above in mounts), Path("/"))
        kept = {one: at for one, at in self._mounts.items() if at in mounts or not real.is_relative_to(at)}
        # In one piece: other threads read it.
        self._mounts = {**kept, device: mount}

    def _check_bounds(self, path: str, real: Path) -> None:
        if not self._real_roots or any(real.is_relative_to(root) for root in self._real_roots):
            return
        if any(Path(path).is_relative_to(root) for root in self._roots):
            raise errors.ImageUnusable("a link that leads out of this worker's IMAGE_ROOTS")
        raise errors.ImageForbidden(f"the folder {Path(path).parent} lies outside this worker's IMAGE_ROOTS")

    def _missing(self, path: Path) -> errors.ImageError:
        """The error for a missing file: its own, its folder's, or that of a disk that is probably not mounted."""
        folder = path.parent
        root = next((root for root in self._roots if path.is_relative_to(root)), None)
        if root is not None and not root.is_dir():
            return errors.ImageForbidden(f"the folder {root} of IMAGE_ROOTS does not exist on this worker")
        real, mounts = Path(os.path.realpath(folder)), _mount_points()
        for mount in {*self._mounts.values()}:
            # Something else may lie there now, such as what a backup wrote meanwhile.
            if mount != Path("/") and mount not in mounts and real.is_relative_to(mount):
                return errors.NotMounted(f"the disk at {mount} is gone from this worker; is it mounted?")
        is_there = True
        try:
            is_there = real.is_dir()
            deepest = real if is_there else next(each for each in real.parents if each.is_dir())
            # One of nothing but mount points, such as /media/user, loses the folder of a disk together with the disk.
            is_plain = _holds_any_but(mounts, deepest)
        except OSError:
            if is_there:
                return errors.ImageForbidden(f"no permission to look into {folder}")
            is_plain = True
        if not is_plain:
            fault = "is empty" if is_there else "does not exist"
            return errors.ImageForbidden(f"the folder {folder} {fault} on this worker; is it mounted?")
        if is_there:
            return errors.ImageUnusable("no such file")
        return errors.FolderMissing(f"the folder {folder} does not exist on this worker")


def _mount_points() -> frozenset[Path]:
    # Not `os.path.ismount`, which hangs on a share whose server is gone.
    return frozenset(Path(one.mountpoint) for one in psutil.disk_partitions(all=True))


def _holds_any_but(mounts: frozenset[Path], folder: Path) -> bool:
    """Whether anything lies in a folder besides mount points. Raises `OSError`."""
    with os.scandir(folder) as entries:
        return any(Path(entry.path) not in mounts for entry in entries)


def _local_path(uri: str) -> str:
    """The path in a `file://` URI. Raises `ImageUnusable` if it names another host or the path is not absolute."""
    if uri.startswith("file:///") and not _SPECIAL.search(uri):
        return uri[7:]
    parts = urlsplit(uri)
    path = addresses.path_of(uri)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise errors.ImageUnusable("not a file URI of this host")
    return path


def _read_regular(path: str, reservation: Reservation, *, limit: int, check: Callable[[int], None]) -> bytes:
    """Read a whole file of at most `limit` bytes. Raises `ReservationTooSmall` if it is larger than reserved.

    `check` is given the opened file before anything is read, and may raise.
    """
    # Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check(handle)
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
