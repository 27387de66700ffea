"""The process that parses large posts. Its imports are few, so that it starts quickly and stays small."""

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
"""Bytes of data that the process may allocate; the mapped file does not count."""

LENGTH: Final = struct.Struct("<I")
"""Length prefix of each result in the output file."""


def confine() -> None:
    """Make this process end with the gateway, and limit its memory."""
    kernel.die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def read_file(source: str, target: str, reduction: bytes) -> None:
    """Parse a post from the file `source` and write its results, reduced, to the file `target`, one after another.

    Raises `InvalidInput` for a file that is not a post of results, and `TooLarge` for one that needs more memory than
    allowed.
    """
    wanted = msgspec.msgpack.decode(reduction, type=Reduction)
    encoder = msgspec.msgpack.Encoder()
    with Path(source).open("rb") as file, Path(target).open("wb") as kept:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            for item in results.read_post(mapped, wanted):
                encoded = encoder.encode(item)
                kept.write(LENGTH.pack(len(encoded)))
                kept.write(encoded)
        except MemoryError:
            raise errors.TooLarge("the post needs more memory than a post may take; split it") from None
