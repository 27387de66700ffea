"""A folder of files on a disk or in a bucket, to be copied to and from: backups, and the lake as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import fsspec
import fsspec.implementations.local

from antenna_orchestration import errors

AT_A_TIME: Final = 8
"""Files copied side by side: a bucket answers each after tens of milliseconds."""

BLOCK: Final = 4 * 2**20
"""Bytes moved at once."""


class Folder:
    """The files below a local folder or `s3://bucket/prefix`, by their relative paths. Methods block.

    Everything that fails for the store's sake raises `Unavailable`.
    """

    def __init__(self, uri: str, *, storage_options: dict[str, Any] | None = None) -> None:
        self.uri = uri.rstrip("/") if "://" in uri else str(Path(uri).absolute())
        self._fs, self._root = fsspec.core.url_to_fs(self.uri, **(storage_options or {}))
        self._is_local = isinstance(self._fs, fsspec.implementations.local.LocalFileSystem)
        self._faults: type[Exception] = OSError if self._is_local else Exception

    def files(self) -> dict[str, int]:
        """All files with their sizes; what is hidden, and so drafts that a crash left behind, are no files."""
        with self._reaching():
            self._fs.invalidate_cache()
            found = self._fs.find(self._root, detail=True) if self._fs.exists(self._root) else {}
        names = {path.removeprefix(f"{self._root}/"): int(entry["size"]) for path, entry in found.items()}
        return {name: size for name, size in names.items() if "/." not in f"/{name}"}

    def make_private(self) -> None:
        """Make the folder, for its owner only; nothing to do for a bucket."""
        if self._is_local:
            with self._reaching():
                Path(self._root).mkdir(parents=True, exist_ok=True)
                Path(self._root).chmod(0o700)

    @contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        """One file's bytes."""
        with self._reaching(), self._fs.open(f"{self._root}/{path}", "rb") as file:
            yield file

    @contextmanager
    def writing(self, path: str) -> Iterator[IO[bytes]]:
        """A file, new."""
        full = f"{self._root}/{path}"
        with self._reaching():
            if self._is_local:
                Path(full).parent.mkdir(parents=True, exist_ok=True)
            with self._fs.open(full, "wb") as file:
                yield file

    def copy_from(self, source: Folder, paths: Iterable[str], *, may_vanish: bool = False) -> int:
        """Copy files, their bytes in all; one that is gone from the source is left out if it `may_vanish`."""

        def copy(path: str) -> int:
            try:
                with source.reading(path) as from_, self.writing(path) as to:
                    shutil.copyfileobj(from_, to, BLOCK)
                    return int(to.tell())
            except errors.Unavailable as error:
                if may_vanish and isinstance(error.__cause__, FileNotFoundError):
                    return 0
                raise

        with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="copy") as pool:
            return sum(pool.map(copy, paths))

    def remove(self, paths: Collection[str]) -> None:
        """Delete files; fine when they are gone."""
        with self._reaching():
            for path in paths:
                if self._fs.exists(f"{self._root}/{path}"):
                    self._fs.rm_file(f"{self._root}/{path}")

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except errors.AntennaError:
            raise
        except self._faults as error:
            raise errors.Unavailable(f"{self.uri}: {type(error).__name__}: {error}") from error
