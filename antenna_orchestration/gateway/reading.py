"""The process that parses large posts. Its imports are few, so that it starts quickly and stays small."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
import struct
from pathlib import Path
from typing import IO, Final

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration.contract import results
from antenna_orchestration.contract.results import Reduction

MEMORY: Final = 1024 * 2**20
"""Bytes of data that the process may allocate; the mapped file does not count."""

SENT: Final = 2**20
"""Largest output, in bytes, that is sent to the gateway; a larger one is written to a file."""

LENGTH: Final = struct.Struct("<I")
"""Length prefix of each result in the output."""


def confine() -> None:
    """Make this process end with the gateway, and limit its memory."""
    kernel.die_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def read_file(source: str, size: int, target: str, reduction: bytes) -> bytes | None:
    """Parse a post, the first `size` bytes of the file `source`; its results, reduced, one after another.

    None when they are large: then they are in the file `target`. Raises `InvalidInput` for a file that is not a post of
    results, and `TooLarge` for one that needs more memory than allowed.
    """
    wanted = msgspec.msgpack.decode(reduction, type=Reduction)
    encoder = msgspec.msgpack.Encoder()
    kept = bytearray()
    with Path(source).open("rb") as file, contextlib.ExitStack() as stack:
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        written: IO[bytes] | None = None
        try:
            for item in results.read_post(mapped, wanted):
                encoded = encoder.encode(item)
                kept += LENGTH.pack(len(encoded))
                kept += encoded
                if len(kept) > SENT:
                    written = written or stack.enter_context(Path(target).open("wb"))
                    written.write(kept)
                    kept.clear()
        except MemoryError:
            raise errors.TooLarge("the post needs more memory than a post may take; split it") from None
        if written is None:
            return bytes(kept)
        written.write(kept)
        return None
