"""The messages between a worker and the process that device processes are forked from, over a socket pair.

One message a packet, as msgpack. Both sides are always of one version.
"""

from __future__ import annotations

from typing import Final

import msgspec

LARGEST: Final = 256
"""Bytes that a message has at most."""


class Fork(msgspec.Struct, tag=True, frozen=True):
    """Fork a device process that serves the socket sent with this."""

    number: int


class Up(msgspec.Struct, tag=True, frozen=True):
    """PyTorch is imported."""


class Forked(msgspec.Struct, tag=True, frozen=True):
    """The device process that `Fork` with this number asked for."""

    number: int
    pid: int


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The other answer: what is imported here is not what is installed."""

    number: int


class NotForked(msgspec.Struct, tag=True, frozen=True):
    """The third: the kernel would not."""

    number: int
    error: int
    """As `OSError.errno`."""


class Ended(msgspec.Struct, tag=True, frozen=True):
    """A device process ended."""

    pid: int
    status: int
    """As `subprocess.Popen.returncode`: negative for a signal."""


FromTemplate = Up | Forked | Refused | NotForked | Ended

to_template = msgspec.msgpack.Decoder(Fork)
from_template: msgspec.msgpack.Decoder[FromTemplate] = msgspec.msgpack.Decoder(FromTemplate)
