"""Which files a pipeline reads that its description does not name.

A pipeline's digest is of its code and of the files that its algorithms name (`pipelines/identity.py`). Weights that the
code opens by a path of its own are in neither: when they change, nobody notices, and results are booked under a version
that they do not have.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.interface import PipelineSpec

WEIGHTS: Final = re.compile(
    r"\.(bin|caffemodel|ckpt|engine|gguf|h5|hdf5|joblib|keras|mar|mlmodel|model|msgpack|npy|npz|onnx|params|pb|pdparams"
    r"|pickle|pkl|pt|pt2|ptl|pth|safetensors|tflite|torchscript|weights)",
    re.IGNORECASE,
)
"""Endings of files that hold weights, wherever they lie."""

_CODE: Final = frozenset({".py", ".pyc", ".pyi", ".so", ".pyd", ".lock", ".log"})
_NO_FOLDERS: Final = ("/proc/", "/sys/", "/dev/")


_IN_OPEN: Final = 0x20
_EVENT: Final = struct.Struct("iIII")
"""The kernel's `struct inotify_event`: which watch, what happened, a cookie, and bytes of the name that follows."""


class Opened:
    """Notes each file that this process opens for reading, from its making on.

    Python tells of its own by audit events. Libraries in C++, such as ONNX Runtime, open files without it; of those the
    kernel tells, in the folders of the pipeline's own files.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        self._spec = spec
        self._paths: dict[str, None] = {}
        self._watched: dict[int, Path] = {}
        self._kernel = -1
        if not spec.origin.is_built_in:
            self._watch({Path(file).parent for file in spec.origin.files})
        sys.addaudithook(self._note)

    def _watch(self, folders: Iterable[Path]) -> None:
        libc = ctypes.CDLL(None)
        # Where it has no watch left, a warning is lost and nothing else.
        self._kernel = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for folder in sorted(folders):
            number = libc.inotify_add_watch(self._kernel, os.fsencode(folder), _IN_OPEN)
            if number >= 0:
                self._watched[number] = folder

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open":
            return
        path, _, flags = arguments
        # It runs within every `open` of the process: nothing is looked up here.
        if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int) and not flags & os.O_WRONLY:
            try:
                self._paths[os.path.abspath(os.fsdecode(path))] = None  # noqa: PTH100  it is called very often
            except (OSError, ValueError):
                return

    def unnamed(self) -> list[str]:
        """The files that count, sorted: weights from anywhere, and whatever lies beside the pipeline's own code."""
        if self._spec.origin.is_built_in:
            return []
        # Others may look into these folders as well, at photographs for instance.
        told = (path for path in self._told_by_kernel() if WEIGHTS.fullmatch(path.suffix))
        every = {*map(Path, tuple(self._paths)), *told}
        return sorted(str(path) for path in every if _counts(path, self._spec))

    def _told_by_kernel(self) -> Iterator[Path]:
        if not self._watched:
            return
        with contextlib.suppress(BlockingIOError):
            while events := os.read(self._kernel, 2**16):
                place = 0
                while place < len(events):
                    number, _, _, length = _EVENT.unpack_from(events, place)
                    place += _EVENT.size + length
                    if name := events[place - length : place].rstrip(b"\0"):
                        yield self._watched[number] / os.fsdecode(name)


def _counts(path: Path, spec: PipelineSpec) -> bool:
    if path.suffix in _CODE or str(path).startswith(_NO_FOLDERS) or str(path) == spec.origin.name or not path.is_file():
        return False
    if str(path) in spec.origin.files:
        return False
    own = {Path(file).parent for file in spec.origin.files}
    if any(path.is_relative_to(folder) for folder in own):
        return not _named(path, spec)
    return bool(WEIGHTS.fullmatch(path.suffix)) and not _is_of_python(path) and not _named(path, spec)


def _is_of_python(path: Path) -> bool:
    """Whether it came with Python or an installed package, whose version is what changes."""
    return any(path.is_relative_to(place) for place in _places())


def _places() -> Iterable[str]:
    return {sys.prefix, sys.base_prefix, *map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))}


def _named(path: Path, spec: PipelineSpec) -> bool:
    """Whether an algorithm names the file, or the folder that it lies in."""
    for uri in spec.addresses:
        # An address that cannot be is refused where it is used.
        with contextlib.suppress(errors.InvalidInput):
            if path.resolve().is_relative_to(weights.cached_path(uri).resolve()):
                return True
    return False
