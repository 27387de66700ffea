"""What the process that reads large posts does. It imports little, so that it starts quickly and stays small."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import struct
from pathlib import Path
from typing import Final

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration.contract import results
from antenna_orchestration.contract.results import Reduction

MEMORY: Final = 1024 * 2**20
"""Bytes that the reading process may take for itself; the file it reads does not count."""

LENGTH: Final = struct.Struct("<I")
"""Stands before each result in the file of what is kept."""


def confine() -> None:
    """Die with the gateway, and take no more memory than allowed."""
    kernel.die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def read_file(source: str, target: str, reduction: bytes) -> None:
    """Read a post from one file and write what is kept of it, result by result, to another.

    Raises `InvalidInput` for a file that is no post, `TooLarge` for one that takes more memory than allowed.
    """
    wanted = msgspec.msgpack.decode(reduction, type=Reduction)
    encoder = msgspec.msgpack.Encoder()
    with Path(source).open("rb") as file, Path(target).open("wb") as kept:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            for item in results.read(mapped, wanted):
                encoded = encoder.encode(item)
                kept.write(LENGTH.pack(len(encoded)))
                kept.write(encoded)
        except MemoryError:
            raise errors.TooLarge("the post needs more memory than a post may take; split it") from None
